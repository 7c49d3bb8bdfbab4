"""Recognises the models whose derivatives a `Stack` computes as autograd would."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from midstream.mathematics.stacks.layers import (
    AvgPool,
    Convolution,
    Fixed,
    Flatten,
    Linear,
    MaxPool,
    Relu,
    Weighted,
    pair,
)
from midstream.mathematics.stacks.stack import Stack

_CALLS = {"forward", "_conv_forward"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def stack_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> Stack | None:
    """Return the model as a stack at its present parameters, or None if it is not plainly one.

    A stack is an `nn.Sequential`, perhaps of others, of torch's own `Conv2d`, `Linear`, `ReLU`, `MaxPool2d`,
    `AvgPool2d`, `Flatten`, `Identity` and, in evaluation mode, `Dropout`. No layer may occur twice, or be
    subclassed, hooked, parametrized or given another `forward`. All parameters are trainable, and on the CPU
    in the precision of the inputs. Anything else is left to autograd.

    Args:
        model: any module.
        inputs: `(examples, *input)`; uint8 stands for float32 pixels.
        labels: their targets, `(examples,)`.

    >>> x, y = torch.rand(2, 4), torch.tensor([0, 1])
    >>> stack_of(nn.Sequential(nn.Linear(4, 3)), x, y) is None
    False
    >>> stack_of(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), x, y) is None
    True
    """
    if labels.dtype != torch.int64 or labels.dim() != 1 or not _plain_tensors(model, inputs, labels):
        return None
    layers: list[Fixed | Weighted] = []
    axes = inputs.dim()
    for name, module in _leaves(model):
        if not _plain(module):
            return None
        if type(module) is nn.Identity or (type(module) is nn.Dropout and not module.training):
            continue
        if (layer := _layer(module, name, axes)) is None:
            return None
        layers.append(layer)
        axes = 2 if type(module) is nn.Flatten else axes
    stack = Stack(layers)
    held = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    unshared = len(held) == len(list(model.parameters()))
    return stack if held and unshared and axes == 2 and list(stack.names()) == held else None


def _plain_tensors(model: nn.Module, inputs: Tensor, labels: Tensor) -> bool:
    parameters = list(model.parameters())
    dtype = torch.float32 if inputs.dtype == torch.uint8 else inputs.dtype
    return (
        dtype in (torch.float32, torch.float64)
        and type(inputs) in (Tensor, nn.Parameter)
        and all(p.dtype == dtype and p.requires_grad and type(p) is nn.Parameter for p in parameters)
        and all(tensor.device.type == "cpu" for tensor in (inputs, labels, *parameters))
        and all(tensor.layout is torch.strided for tensor in (inputs, *parameters))
        and not any(getattr(torch_module, f"_global{kind}") for kind in _HOOKS)
    )


def _leaves(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers in the order of their calls, and whole each module whose calls are not known."""
    if type(module) is not nn.Sequential or not _plain(module):
        yield name, module
        return
    for key, child in module._modules.items():
        if child is None:  # calling the model fails
            yield name, module
        else:
            yield from _leaves(child, f"{name}.{key}" if name else key)


def _plain(module: nn.Module) -> bool:
    """Return whether nothing is attached to a module that changes what calling it does."""
    return _CALLS.isdisjoint(vars(module)) and not any(getattr(module, kind) for kind in _HOOKS)


def _layer(module: nn.Module, name: str, axes: int) -> Fixed | Weighted | None:
    kind = type(module)
    if isinstance(module, nn.ReLU) and kind is nn.ReLU:
        return Relu()
    if isinstance(module, nn.Flatten) and kind is nn.Flatten:
        return Flatten() if (module.start_dim, module.end_dim) == (1, -1) and axes > 1 else None
    if isinstance(module, nn.Linear) and kind is nn.Linear:
        return Linear(*_held(module, name)) if axes == 2 else None
    if axes != 4:
        return None
    if isinstance(module, nn.Conv2d) and kind is nn.Conv2d:
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            return None
        stride, padding, dilation = pair(module.stride), pair(module.padding), pair(module.dilation)
        return Convolution(*_held(module, name), stride, padding, dilation, module.groups)
    if isinstance(module, nn.MaxPool2d) and kind is nn.MaxPool2d and not module.return_indices:
        kernel, stride = pair(module.kernel_size), pair(module.stride)
        return MaxPool((kernel, stride, pair(module.padding), pair(module.dilation), module.ceil_mode))
    if isinstance(module, nn.AvgPool2d) and kind is nn.AvgPool2d:
        kernel, stride, padding = pair(module.kernel_size), pair(module.stride), pair(module.padding)
        how = module.ceil_mode, module.count_include_pad, module.divisor_override
        return AvgPool((kernel, stride, padding, *how))
    return None


def _held(module: Any, name: str) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    prefix = f"{name}." if name else ""
    names = tuple(f"{prefix}{key}" for key in ("weight", "bias")[: 1 if module.bias is None else 2])
    return module.weight, module.bias, names
