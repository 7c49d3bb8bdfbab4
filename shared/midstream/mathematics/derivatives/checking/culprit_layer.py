"""Finds the layer of a model whose derivatives are wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.checking.evidence import FaultError, Kind, Trial
from midstream.mathematics.derivatives.functional import holding
from midstream.mathematics.derivatives.orders import Order


def offending_layer(
    model: nn.Module, inputs: Tensor, kind: Kind, orders: Sequence[Order], *, coupled: bool = False
) -> str:
    """Return the innermost layer that shows the fault in isolation, as text; the model if no layer does.

    Each layer is checked in isolation, on the arguments that it receives within the model.
    """
    names = {module: name for name, module in reversed(list(model.named_modules()))}
    for layer, call in _calls(model, inputs).items():
        alone = _Alone(layer, call)
        if layer is not model and _has_fault(alone, call.first, kind, orders, coupled):
            return f"layer {names[layer]!r} ({type(layer).__name__})"
    return f"model {type(model).__name__}"


def _has_fault(alone: "_Alone", inputs: Tensor, kind: Kind, orders: Sequence[Order], coupled: bool) -> bool:
    try:
        trial = Trial(alone, inputs, torch.zeros(len(inputs)), _curved, coupled=coupled)
        if kind in ("random", "coupled", "gradient", "order"):
            trial.check_repeatable()
            trial.check_examples()
        if kind in ("gradient", "order"):
            trial.check_gradient()
        if kind == "order":
            trial.right_order(orders)
    except FaultError as fault:
        return fault.kind == kind or (kind == "order" and fault.kind == "gradient")
    return False


@dataclass(frozen=True)
class _Call:
    """The arguments of a layer's call: the first, a floating-point tensor, and the others."""

    first: Tensor
    others: tuple[object, ...]
    keywords: dict[str, object]


def _calls(model: nn.Module, inputs: Tensor) -> dict[nn.Module, _Call]:
    """Return each layer's first call, in the order in which the calls end."""
    calls: dict[nn.Module, _Call] = {}

    def keep(module: nn.Module, given: tuple[object, ...], keywords: dict[str, object], _: object) -> None:
        first, *others = map(_detached, given) if given else [None]
        if isinstance(first, Tensor) and first.is_floating_point():
            calls.setdefault(module, _Call(first, tuple(others), keywords))

    hooks = [
        module.register_forward_hook(keep, with_kwargs=True, always_call=True)
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        with torch.no_grad():
            holding(model, {}, lambda: model(inputs))
    except Exception:  # the layers that ran before the error are recorded
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _detached(value: object) -> object:
    return value.detach().clone() if isinstance(value, Tensor) else value


class _Alone(nn.Module):
    """A layer as a model of one input. A parameter scales it, since the layer may have no parameters."""

    def __init__(self, layer: nn.Module, call: _Call) -> None:
        super().__init__()
        first = call.first
        self.layer, self.scale = layer, nn.Parameter(torch.ones((), dtype=first.dtype, device=first.device))
        self._others, self._keywords, self._size = call.others, call.keywords, len(first)
        self.training = layer.training

    def forward(self, inputs: Tensor) -> Tensor:
        others = [self._fitting(value, inputs) for value in self._others]
        keywords = {name: self._fitting(value, inputs) for name, value in self._keywords.items()}
        outputs = self.layer(inputs * self.scale, *others, **keywords)
        while not isinstance(outputs, Tensor):
            outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
        return outputs

    def _fitting(self, value: object, inputs: Tensor) -> object:
        if not isinstance(value, Tensor):
            return value
        value = value.to(inputs.dtype) if value.is_floating_point() else value
        return value[: len(inputs)] if value.shape[:1] == (self._size,) else value


def _curved(outputs: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """Return a loss that sums over examples, with a different slope and curvature for each output."""
    flat = outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None]
    weights = torch.linspace(0.5, 1.5, flat.shape[1], dtype=flat.dtype, device=flat.device)
    return (weights * flat + weights.flip(0) * flat.square() / 2).sum()
