"""Calls a model as a function of its parameters and inputs, and restores the model afterwards.

During such a call the model holds other tensors, so only one thread at a time may use a model.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, func, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from midstream.errors import MidstreamError

T = TypeVar("T")


class DerivativeError(MidstreamError, ValueError):
    """A model's derivatives cannot be computed correctly; the message names the layer and says what to do."""


class RandomLayersWarning(UserWarning):
    """Layers draw random numbers during a derivative, so each call differentiates a different function."""


DRAWS = (
    "{} draws random numbers in training mode: each call differentiates a different function. Call .eval() "
    "first, as midstream's players do"
)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return fresh leaves that share memory with the model's trainable parameters, by name.

    Raises:
        ValueError: the model has no parameter that requires a gradient.
        DerivativeError: the model is a wrapper around another, is scripted or traced, or has parameters
            without a shape yet.
    """
    if (wrapped := unwrapped(model)) is not model:
        raise DerivativeError(
            f"{type(model).__name__} is a wrapper round {type(wrapped).__name__}, which has the derivatives; "
            f"give the model that it was made of"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise DerivativeError(
            f"{type(model).__name__} is scripted or traced, and its parameters cannot be replaced in a "
            f"derivative; give the torch.nn.Module that it was made of"
        )
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise DerivativeError(
                f"parameter {name!r} has no shape before the model is first called; call it once on an input"
            )
    found = {n: p.detach().requires_grad_() for n, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise ValueError(f"{type(model).__name__} has no trainable parameter: there is nothing to attack")
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model that `DataParallel`, `DistributedDataParallel` or `torch.compile` wraps.

    >>> unwrapped(nn.DataParallel(nn.Linear(2, 2)))
    Linear(in_features=2, out_features=2, bias=True)
    """
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner  # torch.compile
        else:
            return model


def functional_call(
    model: nn.Module, parameters: Mapping[str, Tensor], arguments: tuple[Tensor, ...]
) -> Tensor:
    """Return the model's outputs at `parameters`, named as in `trainable`; see `holding`."""
    return holding(model, parameters, lambda: called(model, *arguments))


def holding(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    work: Callable[[], T],
    *,
    buffers: Mapping[str, Tensor] | None = None,
) -> T:
    """Call `work` while the model holds other values, and return its result.

    Whatever a layer writes into its buffers, frozen parameters or tensor attributes during the call is
    discarded. If a backward pass is to be differentiated in turn, run it inside `work`: checkpointed layers
    compute their outputs again during a backward pass.

    Args:
        model: the model; it is restored when this returns.
        parameters: values for parameters, by name; the others keep their own.
        work: the function to call.
        buffers: values for buffers, by name; the others keep their own.
    """
    # Name each place that holds a parameter only once, even if its layer or weight is shared under several
    # names: `torch.func.functional_call` leaves its own tensor in a layer that it is given twice.
    names = {id(p): name for name, p in model.named_parameters()}
    at = {
        where: parameters[names[id(p)]] if names[id(p)] in parameters else p.detach().clone()
        for where, p in _places(model, "_parameters")
    }
    given = {id(b): buffers[name] for name, b in model.named_buffers() if name in buffers} if buffers else {}
    copies: dict[int, Tensor] = {}
    for where, buffer in _places(model, "_buffers"):
        if id(buffer) not in copies:
            copies[id(buffer)] = given.get(id(buffer), buffer).clone()
        at[where] = copies[id(buffer)]
    with _attributes_kept(model):
        done: T = func.functional_call(_Stage(model), at, (work,), tie_weights=False)
    return done


class _Stage(nn.Module):
    """Holds a model, so that `torch.func.functional_call` can call any function in place of the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        return work()


def called(model: nn.Module, *arguments: Tensor) -> Tensor:
    """Return the model's outputs, after checking that they are a tensor.

    Raises:
        DerivativeError: the outputs are not a tensor, or the inputs' dtype differs from the model's.
    """
    try:
        outputs = model(*arguments)
    except RuntimeError as error:
        own = {p.dtype for p in model.parameters() if p.is_floating_point()}
        for given in arguments:
            if given.is_floating_point() and given.dtype not in own:
                raise DerivativeError(
                    f"the inputs are {given.dtype}, {type(model).__name__} is not; convert them: {error}"
                ) from error
        raise
    if not isinstance(outputs, Tensor):
        raise DerivativeError(
            f"{type(model).__name__} returns a {type(outputs).__name__}, not a tensor of outputs, one row an "
            f"example; wrap it in a module whose forward returns its logits"
        )
    return outputs


def _places(model: nn.Module, kind: str) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in model.named_modules():
        held: dict[str, Tensor | None] = getattr(module, kind)
        for key, value in held.items():
            if value is not None:
                yield ".".join(part for part in ("model", prefix, key) if part), value


@contextmanager
def _attributes_kept(model: nn.Module) -> Iterator[None]:
    """Restore the tensors that layers hold as attributes, such as the weight that an old hook computes."""
    before = [
        (module, {key: value for key, value in vars(module).items() if isinstance(value, Tensor)})
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, held in before:
            now = vars(module)
            for key in [key for key, value in now.items() if isinstance(value, Tensor)]:
                if key not in held:
                    del now[key]
            now.update(held)


def refuse_coupled_examples(
    model: nn.Module, *, known: Callable[[nn.Module], bool] = lambda _: False
) -> None:
    """Raise `DerivativeError` if batch norm makes an example's loss depend on the others in its batch.

    Args:
        model: the model.
        known: whether the caller knows that a layer couples the examples; such a layer is not refused.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            if known(module):
                continue
            raise DerivativeError(
                f"layer {name!r} is batch norm over the statistics of its batch: it couples the examples, so "
                f"an input has no derivative of its own. Call .eval() on a layer that tracks running "
                f"statistics, or use group norm."
            )


def warn_of_random_layers(model: nn.Module) -> None:
    """Warn the caller's caller if a layer that draws random numbers is in training mode."""
    if (layer := random_layer(model)) is not None:
        warnings.warn(DRAWS.format(layer), RandomLayersWarning, stacklevel=3)


def random_layer(model: nn.Module) -> str | None:
    """Return the first layer that is known to draw random numbers in its present mode, as text."""
    for name, module in model.named_modules():
        if module.training and _is_random(module):
            return f"layer {name!r} ({type(module).__name__})"
    return None


def _is_random(module: nn.Module) -> bool:
    if isinstance(module, (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
        return True
    shares = [getattr(module, name, 0) for name in ("dropout", "drop_prob", "drop_path", "dropout_p")]
    if "drop" in type(module).__name__.lower() or "StochasticDepth" in type(module).__name__:
        shares.append(getattr(module, "p", 0))
    return any(isinstance(share, (int, float)) and share > 0 for share in shares)
