"""ConvNeXt, with a stem for the size of the images (Liu et al. 2022)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream.networks.classifiers import Shape

_BLOCKS = (3, 3, 9, 3)


def convnext_tiny(
    input_shape: Shape, classes: int, *, patch: int = 0, width: int = 96, shrink: int = 1
) -> nn.Module:
    """Return ConvNeXt-T, which has layer norm over the channels: 27.8 million parameters.

    Args:
        input_shape: `(channels, height, width)`.
        classes: number of classes.
        patch: side of a patch of the stem, in pixels; 0 takes 4, as in the original, for images of more than
            64 pixels a side, and 2 for smaller ones.
        width: channels of the first of the four stages; each doubles those of the one before.
        shrink: divides the numbers of blocks, 3, 3, 9 and 3; each stage keeps at least one.

    Raises:
        ValueError: the image is too small for the stem and three halvings.
    """
    side = patch or (2 if min(input_shape[1:]) <= 64 else 4)
    if min(input_shape[1:]) < 8 * side or shrink < 1:
        raise ValueError(
            f"patches of {side} pixels and three halvings need images of {8 * side} pixels a side and a "
            f"shrink of at least 1, not images of {input_shape[1]}×{input_shape[2]} and {shrink}"
        )
    blocks = [max(number // shrink, 1) for number in _BLOCKS]
    return ConvNext(input_shape[0], classes, patch=side, width=width, blocks=blocks)


class ConvNext(nn.Module):
    """Stages of depthwise blocks, with a strided convolution between two.

    Args:
        channels: of an image.
        classes: number of classes.
        patch: side of the stem's patches.
        width: channels of the first stage.
        blocks: blocks of each stage.
    """

    def __init__(self, channels: int, classes: int, *, patch: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Conv2d(channels, width, patch, patch), ChannelNorm(width)]
        for number, count in enumerate(blocks):
            if number:
                stages += [ChannelNorm(width), nn.Conv2d(width, 2 * width, 2, 2)]
                width *= 2
            stages += [Block(width) for _ in range(count)]
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `(batch, classes)`."""
        logits: Tensor = self.head(self.norm(self.stages(images).mean(dim=(2, 3))))
        return logits


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed image, `(batch, channels, height, width)`."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """`x + γ · linear(gelu(linear(norm(depthwise(x)))))`, the convolution 7×7, γ a factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.widen(y)))
        moved: Tensor = y.permute(0, 3, 1, 2)
        return x + moved
