"""The first layer of a model, for YOPO's inner steps, and the loss gradient at its output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from midstream.mathematics.loss import Loss, cross_entropy

_POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_ACTIVATIONS = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
)


class _ReachedError(Exception):
    def __init__(self, output: Tensor) -> None:
        self.output = output


def first_layer(model: nn.Module, inputs: Tensor, *, activated: bool) -> Tensor:
    """Return `f₀(x)`, the outputs of the model's first layer; later layers do not run.

    Args:
        model: the model.
        inputs: `(batch, *input)`.
        activated: whether the first layer includes the activation; see `ends_in_activation`.

    Raises:
        ValueError: the model called no module with parameters of its own, or no activation after it.
    """

    def stop(output: Tensor, is_activation: bool) -> Tensor:
        if is_activation == activated:
            raise _ReachedError(output)
        return output

    try:
        with _watched(model, stop):
            model(inputs)
    except _ReachedError as reached:
        return reached.output
    raise ValueError(
        f"{type(model).__name__} calls no layer with parameters of its own, so YOPO has no first one"
    )


def ends_in_activation(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss = cross_entropy) -> bool:
    """Return whether only an activation reads the output of the model's first module with parameters.

    If so, the activation belongs to the first layer, as in the authors' network for MNIST. The activation
    must be a module; max pooling may precede it. If something else reads the same output, such as a shortcut,
    the first layer ends before the activation. It also ends there in the authors' network for CIFAR-10, which
    applies batch norm to the output of its first convolution.
    """
    return len(_costates(model, inputs, labels, loss)) == 2


def costate_of(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, activated: bool, loss: Loss = cross_entropy
) -> Tensor:
    """Return `∇_{f₀} L` at the inputs, shaped like the output of `first_layer`."""
    return _costates(model, inputs, labels, loss, activated=activated)[-1]


def _costates(
    model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, *, activated: bool = True
) -> list[Tensor]:
    """Return the loss gradient at each cut: at two cuts if no path avoids the second, else at one.

    The first cut is after the first module with parameters, the second after the activation that follows it.
    """
    cuts: list[Tensor] = []

    def cut(output: Tensor, is_activation: bool) -> Tensor:
        if is_activation and not activated:
            return output
        cuts.append(output.detach().requires_grad_())
        return cuts[-1].clone()  # a copy, because a later layer may write in place

    with torch.enable_grad(), _watched(model, cut):
        value = loss(model(inputs), labels)
    if not cuts:
        raise ValueError(f"{type(model).__name__} calls no layer with parameters of its own")
    found = torch.autograd.grad(value, cuts, allow_unused=True)
    if len(cuts) == 2 and found[0] is not None:  # some path avoids the activation
        return _costates(model, inputs, labels, loss, activated=False)
    return [
        torch.zeros_like(at) if gradient is None else gradient
        for at, gradient in zip(cuts, found, strict=True)
    ]


@contextmanager
def _watched(model: nn.Module, seen: Callable[[Tensor, bool], Tensor]) -> Iterator[None]:
    """Call `seen(output, is_activation)` at each cut of a forward pass, and pass its result on."""
    passing: list[Tensor] = []

    def layer(module: nn.Module, _: object, output: Tensor) -> Tensor | None:
        if passing:
            return None
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the first layer, a {type(module).__name__}, returns a {type(output).__name__}, not a "
                f"tensor, which YOPO cannot cut at; choose an attack without a first layer, such as pgd"
            )
        passing.append(seen(output, False))
        return passing[0]

    def pooling(_: nn.Module, arguments: tuple[object, ...], output: Tensor) -> None:
        if passing and arguments[0] is passing[-1]:
            passing.append(output)

    def activation(_: nn.Module, arguments: tuple[object, ...], output: Tensor) -> Tensor | None:
        if not passing or arguments[0] is not passing[-1]:
            return None
        passing.append(torch.empty(0))  # matches no later input, so the first layer ends here
        return seen(output, True)

    hooks = []
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            hooks.append(module.register_forward_hook(layer))
        elif isinstance(module, _ACTIVATIONS):
            hooks.append(module.register_forward_hook(activation))
        elif isinstance(module, _POOLINGS):
            hooks.append(module.register_forward_hook(pooling))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
