"""`torch.autograd.Function` with derivatives of its own: right, wrong, or not to be differentiated."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Cube(torch.autograd.Function):
    """A function in torch's first style, with a backward pass and no forward derivative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        found: Tensor = 3 * z.square() * slope
        return found


class CubeInTwo(torch.autograd.Function):
    """The same in the style that function transforms take."""

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z**3

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        found: Tensor = 3 * z.square() * slope
        return found


class CubeForward(CubeInTwo):
    """The same with a forward derivative."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        found: Tensor = 3 * z.square() * tangent
        return found


class WrongForward(CubeInTwo):
    """The same with a forward derivative that is wrong."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        found: Tensor = 2 * z.square() * tangent
        return found


class CubeOnce(Cube):
    """The same with a backward pass that cannot be differentiated."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        found: Tensor = 3 * z.square() * slope
        return found


class CubeDetached(Cube):
    """The same with a backward pass that leaves the graph without a word."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        found: Tensor = 3 * z.detach().square() * slope
        return found


class Rounded(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:  # noqa: ARG004
        return (4 * z).round() / 4

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # noqa: ARG004
        return slope
