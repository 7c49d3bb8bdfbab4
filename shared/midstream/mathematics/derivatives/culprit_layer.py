"""Finds the layer of a model whose derivatives are wrong."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.evidence import FaultError, Kind, Trial
from midstream.mathematics.derivatives.functional import holding
from midstream.mathematics.derivatives.orders import Order


def offending_layer(model: nn.Module, inputs: Tensor, kind: Kind, orders: Sequence[Order]) -> str:
    """Return the innermost layer that shows the fault in isolation, as text; the model if no layer does.

    Each layer is checked in isolation, on the arguments that it receives within the model.
    """
    for name, layer, arguments, keywords in _calls(model, inputs):
        alone = _Alone(layer, arguments[0], arguments[1:], keywords)
        if layer is not model and _has_fault(alone, arguments[0], kind, orders):
            return f"layer {name!r} ({type(layer).__name__})"
    return f"model {type(model).__name__}"


def _has_fault(alone: "_Alone", inputs: Tensor, kind: Kind, orders: Sequence[Order]) -> bool:
    try:
        trial = Trial(alone, inputs, torch.zeros(len(inputs)), _curved)
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


def _calls(model: nn.Module, inputs: Tensor) -> list[tuple[str, nn.Module, tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments of each layer's first call, in the order in which the calls end."""
    names = {module: name for name, module in reversed(list(model.named_modules()))}
    calls: dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def keep(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], _: object) -> None:
        if arguments and isinstance(arguments[0], Tensor) and arguments[0].is_floating_point():
            calls.setdefault(module, (tuple(map(_detached, arguments)), keywords))

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
    return [(names[module], module, *given) for module, given in calls.items()]


def _detached(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


class _Alone(nn.Module):
    """A layer as a model of one input. A parameter scales it, since the layer may have no parameters."""

    def __init__(
        self, layer: nn.Module, first: Tensor, others: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        super().__init__()
        self.layer, self.scale = layer, nn.Parameter(torch.ones((), dtype=first.dtype, device=first.device))
        self._others, self._keywords, self._size = others, keywords, len(first)
        self.training = layer.training

    def forward(self, inputs: Tensor) -> Tensor:
        others = [self._fitting(value, inputs) for value in self._others]
        keywords = {name: self._fitting(value, inputs) for name, value in self._keywords.items()}
        outputs = self.layer(inputs * self.scale, *others, **keywords)
        while not isinstance(outputs, Tensor):
            outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
        return outputs

    def _fitting(self, value: Any, inputs: Tensor) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.to(inputs.dtype) if value.is_floating_point() else value
        return value[: len(inputs)] if value.shape[:1] == (self._size,) else value


def _curved(outputs: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """Return a loss that sums over examples, with a different slope and curvature for each output."""
    flat = outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None]
    weights = torch.linspace(0.5, 1.5, flat.shape[1], dtype=flat.dtype, device=flat.device)
    return (weights * flat + weights.flip(0) * flat.square() / 2).sum()
