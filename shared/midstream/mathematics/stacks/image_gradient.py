"""The gradient of a convolution by an image of one channel.

oneDNN computes it with a single channel of output, for which it has no fast kernel: at MNIST size it runs
at a tenth of its usual rate. Here it is a convolution with sixteen channels of output.
"""

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


def image_gradient(gradient: Tensor, weight: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """Return `∇x ⟨g, conv(x, w)⟩` for an image x of one channel, whose sides are multiples of four.

    The pixels of a 4×4 block become sixteen channels, so that the gradient is a convolution of `g` with
    stride 4. Its kernel holds `w`, turned around, at each pixel's place in the block, and zeros.

    Args:
        gradient: g, `(batch, channels, *output)`.
        weight: w, `(channels, 1, height, width)`, of a convolution with stride and dilation 1.
        padding: that of the convolution, below the kernel's size.

    >>> x, w = torch.rand(2, 1, 8, 8, requires_grad=True), torch.rand(3, 1, 5, 5)
    >>> z = F.conv2d(x, w)
    >>> g = torch.rand_like(z)
    >>> torch.allclose(image_gradient(g, w), torch.autograd.grad(z, x, g)[0])
    True
    """
    height, width = weight.shape[2:]
    rows, columns = height + _SIDE - 1, width + _SIDE - 1
    around = F.pad(weight[:, 0], (_SIDE - 1,) * 4)
    # Row r of the block takes output i with weight w[r + height - 1 - i]: windows of the padded weight.
    windows = around.unfold(1, rows, 1).unfold(2, columns, 1).permute(1, 2, 0, 3, 4)
    turned = windows.reshape(_SIDE**2, len(weight), rows, columns).flip(2, 3)
    kernel = turned.contiguous(memory_format=torch.channels_last)
    margin = height - 1 - padding[0], width - 1 - padding[1]
    return F.pixel_shuffle(F.conv2d(gradient, kernel, stride=_SIDE, padding=margin), _SIDE)
