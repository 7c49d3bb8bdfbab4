"""Convolutions, pooling, padding, resampling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.derivatives.around import functions, layers


def unpooled(z: Tensor) -> Tensor:
    pooled, where = F.max_pool2d(z, 2, return_indices=True)
    return F.max_unpool2d(pooled.sin(), where, (2, 2))


def fractional(z: Tensor) -> Tensor:
    samples = torch.full((len(z), z.shape[1], 2), 0.3, dtype=z.dtype)
    found: Tensor = F.fractional_max_pool2d(z, 2, output_size=3, _random_samples=samples)
    return found


def channels_last(z: Tensor) -> Tensor:
    return F.avg_pool2d(z.to(memory_format=torch.channels_last).sin(), 2)


def sampled(z: Tensor, mode: str) -> Tensor:
    """Sample an image at places that depend on it."""
    still = torch.tensor([[0.9, 0.1, 0.03], [-0.1, 0.8, 0.05]], dtype=z.dtype).expand(len(z), 2, 3)
    grid = F.affine_grid(still, [len(z), 1, 5, 5], align_corners=False)
    return F.grid_sample(
        z, grid + 0.05 * z[:, :2, :5, :5].permute(0, 2, 3, 1), mode=mode, align_corners=False
    )


def patches(z: Tensor) -> Tensor:
    return F.fold(F.unfold(z, 3, padding=1).sin(), (8, 8), 3, padding=1)


CONVOLUTIONS = [
    *layers(
        "signal",
        {
            "Conv1d": lambda: nn.Conv1d(4, 5, 3),
            "Conv1d, same padding": lambda: nn.Conv1d(4, 5, 4, padding="same"),
            "Conv1d, causal and dilated": lambda: nn.Sequential(
                nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(4, 5, 3, dilation=2)
            ),
            "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 3, 3, stride=2),
        },
    ),
    *layers(
        "image",
        {
            "Conv2d": lambda: nn.Conv2d(4, 5, 3),
            "Conv2d, strided": lambda: nn.Conv2d(4, 5, 3, stride=2, padding=1),
            "Conv2d, dilated": lambda: nn.Conv2d(4, 5, 3, dilation=2),
            "Conv2d, grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
            "Conv2d, depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
            "Conv2d, reflected padding": lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"),
            "Conv2d, circular padding": lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular"),
            "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1),
            "Conv2d, channels last": lambda: nn.Conv2d(4, 5, 3).to(memory_format=torch.channels_last),
        },
    ),
    *layers(
        "volume",
        {
            "Conv3d": lambda: nn.Conv3d(4, 3, 3),
            "ConvTranspose3d": lambda: nn.ConvTranspose3d(4, 2, 2, stride=2),
        },
    ),
]

POOLING = [
    *layers(
        "signal",
        {
            "MaxPool1d": lambda: nn.MaxPool1d(2),
            "AvgPool1d": lambda: nn.AvgPool1d(3, 2),
            "LPPool1d": lambda: nn.Sequential(nn.Softplus(), nn.LPPool1d(2.0, 3)),
            "AdaptiveAvgPool1d": lambda: nn.AdaptiveAvgPool1d(5),
            "AdaptiveMaxPool1d": lambda: nn.AdaptiveMaxPool1d(5),
        },
    ),
    *layers(
        "image",
        {
            "MaxPool2d": lambda: nn.MaxPool2d(2),
            "MaxPool2d, overlapping": lambda: nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
            "MaxPool2d, dilated": lambda: nn.MaxPool2d(2, dilation=2),
            "AvgPool2d": lambda: nn.AvgPool2d(3, 2, padding=1),
            "LPPool2d": lambda: nn.Sequential(nn.Softplus(), nn.LPPool2d(3.0, 2)),
            "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(3),
            "AdaptiveMaxPool2d": lambda: nn.AdaptiveMaxPool2d(3),
        },
    ),
    *functions(
        "image",
        {
            "MaxUnpool2d": unpooled,
            "FractionalMaxPool2d": fractional,
            "global average": lambda z: z.sin().mean((2, 3)),
            "global maximum": lambda z: z.sin().amax((2, 3)),
        },
    ),
    *layers(
        "volume",
        {
            "MaxPool3d": lambda: nn.MaxPool3d(2),
            "AvgPool3d": lambda: nn.AvgPool3d(2),
            "AdaptiveAvgPool3d": lambda: nn.AdaptiveAvgPool3d(2),
            "AdaptiveMaxPool3d": lambda: nn.AdaptiveMaxPool3d(2),
        },
    ),
]

RESAMPLING = [
    *functions(
        "image",
        {
            "pad, constant": lambda z: F.pad(z.sin(), (1, 2, 0, 1), value=0.5),
            "pad, reflect": lambda z: F.pad(z.sin(), (1, 2, 0, 1), mode="reflect"),
            "pad, replicate": lambda z: F.pad(z.sin(), (1, 2, 0, 1), mode="replicate"),
            "pad, circular": lambda z: F.pad(z.sin(), (1, 2, 0, 1), mode="circular"),
            "unfold and fold": patches,
            "pixel_shuffle": lambda z: F.pixel_shuffle(z.sin(), 2),
            "pixel_unshuffle": lambda z: F.pixel_unshuffle(z.sin(), 2),
            "channel_shuffle": lambda z: F.channel_shuffle(z.sin(), 2),
            "interpolate, nearest": lambda z: F.interpolate(z.sin(), 5, mode="nearest"),
            "interpolate, nearest-exact": lambda z: F.interpolate(z.sin(), 5, mode="nearest-exact"),
            "interpolate, bilinear": lambda z: F.interpolate(z.sin(), 11, mode="bilinear"),
            "interpolate, bilinear, antialias": lambda z: F.interpolate(
                z.sin(), 5, mode="bilinear", antialias=True
            ),
            "interpolate, bicubic": lambda z: F.interpolate(z.sin(), 11, mode="bicubic", align_corners=True),
            "interpolate, area": lambda z: F.interpolate(z.sin(), 5, mode="area"),
            "grid_sample, bilinear": lambda z: sampled(z, "bilinear"),
            "grid_sample, nearest": lambda z: sampled(z.sin(), "nearest"),
            "grid_sample, bicubic": lambda z: sampled(z, "bicubic"),
            "channels last": channels_last,
        },
    ),
    *functions("signal", {"interpolate, linear": lambda z: F.interpolate(z.sin(), 7, mode="linear")}),
    *functions("volume", {"interpolate, trilinear": lambda z: F.interpolate(z.sin(), 4, mode="trilinear")}),
]
