"""Networks for images, written by hand."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks.derivatives.case import CLASSES


class Residual(nn.Module):
    """`x + f(x)`."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.inner(x)
        return found


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def turned(*inner: nn.Module) -> nn.Module:
    """Act on the last axis but one."""
    return nn.Sequential(Apply(lambda x: x.mT), *inner, Apply(lambda x: x.mT))


def mlp_mixer() -> nn.Module:
    """Return an MLP-Mixer for 16×16 images, patches of 4, width 16, depth 2."""

    def block() -> list[nn.Module]:
        tokens = turned(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        channels = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        return [Residual(nn.LayerNorm(16), tokens), Residual(nn.LayerNorm(16), channels)]

    patches = [nn.Conv2d(3, 16, 4, 4), nn.Flatten(2), Apply(lambda x: x.mT)]
    return nn.Sequential(
        *patches, *block(), *block(), nn.LayerNorm(16), Apply(lambda x: x.mean(1)), nn.Linear(16, CLASSES)
    )


def conv_mixer() -> nn.Module:
    """Return a ConvMixer with batch norm, for 16×16 images."""

    def block() -> list[nn.Module]:
        depthwise = Residual(nn.Conv2d(16, 16, 3, groups=16, padding=1), nn.GELU(), nn.BatchNorm2d(16))
        return [depthwise, nn.Conv2d(16, 16, 1), nn.GELU(), nn.BatchNorm2d(16)]

    return nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.GELU(), nn.BatchNorm2d(16), *block(), *block(), _head(16))


def discriminator() -> nn.Module:
    """Return a spectrally normalised convolution network."""
    wrap = parametrizations.spectral_norm
    return nn.Sequential(
        wrap(nn.Conv2d(3, 8, 3, 2, 1)), nn.LeakyReLU(0.1), wrap(nn.Conv2d(8, 16, 3, 2, 1)), nn.LeakyReLU(0.1),
        nn.Flatten(), wrap(nn.Linear(256, CLASSES)),
    )  # fmt: skip


class UNet(nn.Module):
    """A U-Net with one bridge, whose map of classes is averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU())
        self.inner = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU(), nn.ConvTranspose2d(8, 8, 2, 2)
        )
        self.up = nn.Sequential(
            nn.Conv2d(16, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.SiLU(), nn.Conv2d(8, CLASSES, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down(x)
        found: Tensor = self.up(torch.cat([wide, self.inner(wide)], 1)).mean((2, 3))
        return found


class SqueezeAndExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.gates = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Hardsigmoid()
        )
        self.head = _head(8)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        found: Tensor = self.head(z * self.gates(z))
        return found


class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised, as in networks without norms."""

    def forward(self, x: Tensor) -> Tensor:
        std, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return F.conv2d(
            x, (self.weight - mean) / std / math.sqrt(self.weight[0].numel()), self.bias, padding=1
        )


def without_norms() -> nn.Module:
    return nn.Sequential(
        Standardised(3, 8, 3), nn.SiLU(), nn.AvgPool2d(2), Standardised(8, 8, 3), nn.SiLU(), _head(8)
    )


def _head(channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
