"""The gradient of a convolution by an image of one channel.

oneDNN computes it with a single channel of output, for which it has no fast kernel: at MNIST size it runs
at a tenth of its usual rate. Here it is a convolution with sixteen channels of output.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 4
"""Pixels of a block's side: sixteen pixels are one AVX-512 vector of float32."""


def suits(weight: Tensor, padding: tuple[int, int], image: Tensor) -> bool:
    """Return whether `image_gradient` applies to a convolution of stride and dilation 1 with this weight."""
    _, channels, *kernel = weight.shape
    return (
        channels == 1
        and all(size % _SIDE == 0 for size in image.shape[2:])
        and all(pad < size for pad, size in zip(padding, kernel, strict=True))
    )


def image_gradient(
    gradients: Sequence[Tensor], weights: Sequence[Tensor], padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """Return `Σ ∇x ⟨g, conv(x, w)⟩` for images x of one channel, whose sides are multiples of four.

    The pixels of a 4×4 block become sixteen channels, so that the gradient is a convolution of g with
    stride 4. Its kernel holds w, turned around, at each pixel's place in the block, and zeros.

    Args:
        gradients: each g, `(batch, channels, *output)`.
        weights: the w of each, `(channels, 1, height, width)`, with stride and dilation 1.
        padding: that of the convolution, below the kernel's size.

    >>> x, w = torch.rand(2, 1, 8, 8, requires_grad=True), torch.rand(3, 1, 5, 5)
    >>> z = F.conv2d(x, w)
    >>> g = torch.rand_like(z)
    >>> torch.allclose(image_gradient([g], [w]), torch.autograd.grad(z, x, g)[0])
    True
    """
    around = F.pad(torch.cat(tuple(weights), 1).transpose(0, 1), (_SIDE - 1,) * 4)
    height, width = weights[0].shape[2:]
    # Pixel r of a block takes entry i of g with weight w[r + height - 1 - i]: windows of the padded weights.
    windows = around.unfold(2, height + _SIDE - 1, 1).unfold(3, width + _SIDE - 1, 1).flip(4, 5)
    kernels = windows.permute(0, 2, 3, 4, 5, 1).flatten(1, 2)  # channels last, as the gradients are
    margin = height - 1 - padding[0], width - 1 - padding[1]
    blocks = [
        F.conv2d(gradient, kernel.permute(0, 3, 1, 2), stride=_SIDE, padding=margin)
        for gradient, kernel in zip(gradients, kernels.unbind(), strict=True)
    ]
    return F.pixel_shuffle(sum(blocks[1:], start=blocks[0]), _SIDE)
