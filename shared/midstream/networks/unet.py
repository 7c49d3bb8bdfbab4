"""The denoising network of diffusion models: a U-Net of wide residual blocks."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MULTIPLES = {4: (1, 2, 2, 2), 6: (1, 1, 2, 2, 4, 4)}


def multiples(size: Sequence[int]) -> tuple[int, ...]:
    """Return each level's number of channels, as a multiple of the width; each level halves the image size.

    Ho et al. use four levels for 32×32 images and six for 256×256. For smaller images, the last level has
    about 4 pixels per side.

    >>> multiples((8, 8)), multiples((28, 28)), multiples((256, 256))
    ((1, 2), (1, 2, 2, 2), (1, 1, 2, 2, 4, 4))
    """
    levels = 1
    while max(size) > 4 * 2 ** (levels - 1) and levels < 6:
        levels += 1
    return _MULTIPLES[4 if levels <= 4 else 6][:levels]


def embedding(times: Tensor, dimensions: int) -> Tensor:
    """Return sines and cosines of the times, `(batch, dimensions)`, with wavelengths from 2π to 20,000π."""
    half = dimensions // 2
    angles = times[:, None] * torch.exp(-math.log(10_000) * torch.arange(half) / half).to(times)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """`x + conv(silu(norm(conv(silu(norm(x))) + linear(t))))`, with 3×3 convolutions and group norm."""

    def __init__(self, inputs: int, outputs: int, times: int) -> None:
        super().__init__()
        self.before, self.first = nn.GroupNorm(_groups(inputs), inputs), nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.time = nn.Linear(times, outputs)
        self.between, self.second = (
            nn.GroupNorm(_groups(outputs), outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
        )
        self.past = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        """Return `(batch, outputs, height, width)`."""
        features = self.first(F.silu(self.before(images))) + self.time(times)[:, :, None, None]
        return self.past(images) + self.second(F.silu(self.between(features)))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """The network of Ho et al. 2020 without attention: predicts the noise in an image, given the noise level.

    It has two residual blocks per level on the way down, two at the bottom, and three per level on the way
    up, with skip connections from the way down. For 32×32 images, 35.7 million parameters are usual, with
    attention and a width of 128.

    Args:
        shape: shape of one image, `(channels, height, width)`; any size.
        width: number of channels of the first level; even.

    >>> network = UNet((3, 32, 32), 40)  # the paper's tenth
    >>> sum(parameter.numel() for parameter in network.parameters())
    3347683
    >>> network(torch.zeros(2, 3, 32, 32), torch.tensor([1.0, 9.0])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, *size = shape
        widths, times = [width * multiple for multiple in multiples(size)], 4 * width
        self.width = width
        self.times = nn.Sequential(nn.Linear(width, times), nn.SiLU(), nn.Linear(times, times), nn.SiLU())
        self.enter = nn.Conv2d(channels, width, 3, 1, 1)
        self.down, left, now = nn.ModuleList(), [width], width
        for level, wide in enumerate(widths):
            if level > 0:
                self.down.append(nn.Conv2d(now, now, 3, 2, 1))
                left.append(now)
            for _ in range(2):
                self.down.append(ResidualBlock(now, wide, times))
                left.append(now := wide)
        self.bottom = nn.ModuleList([ResidualBlock(now, now, times) for _ in range(2)])
        self.up = nn.ModuleList()
        for wide in reversed(widths):
            for _ in range(3):
                self.up.append(ResidualBlock(now + left.pop(), wide, times))
                now = wide
            if left:
                self.up.append(nn.Conv2d(now, now, 3, 1, 1))
        self.leave = nn.Sequential(
            nn.GroupNorm(_groups(now), now), nn.SiLU(), nn.Conv2d(now, channels, 3, 1, 1)
        )

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        """Return the predicted noise, shaped like the images; `times` is `(batch,)`, the noise level."""
        times = self.times(embedding(times, self.width))
        features = self.enter(images)
        left = [features]
        for layer in self.down:
            features = layer(features, times) if isinstance(layer, ResidualBlock) else layer(features)
            left.append(features)
        for layer in self.bottom:
            features = layer(features, times)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                features = layer(torch.cat([features, left.pop()], dim=1), times)
            else:
                features = layer(F.interpolate(features, size=left[-1].shape[2:]))
        return self.leave(features)  # type: ignore[no-any-return]


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
