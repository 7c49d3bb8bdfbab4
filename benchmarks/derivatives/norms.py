"""Normalisation of activations and of weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from benchmarks.derivatives.around import functions, layer, layers
from benchmarks.derivatives.lazily import torchvision

BATCH = "couples the examples"
"""What the refusal of a layer over batch statistics says."""


def by_hand(z: Tensor) -> Tensor:
    centred = z - z.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def standardised(z: Tensor) -> Tensor:
    """Normalise over the batch by the function, which no layer's mode tells of."""
    return F.batch_norm(z, None, None, training=True)


def over_the_batch(z: Tensor) -> Tensor:
    return z - z.sin().mean(0, keepdim=True)


NORMS = [
    *layers(
        "sequence",
        {
            "LayerNorm": lambda: nn.LayerNorm(8),
            "LayerNorm, two axes": lambda: nn.LayerNorm((5, 8)),
            "LayerNorm, without weights": lambda: nn.LayerNorm(8, elementwise_affine=False),
            "RMSNorm": lambda: nn.RMSNorm(8),
        },
        group="layer",
    ),
    *functions("sequence", {"layer norm by hand": by_hand}),
    *layers(
        "image",
        {
            "GroupNorm": lambda: nn.GroupNorm(2, 4),
            "GroupNorm, one group": lambda: nn.GroupNorm(1, 4),
            "InstanceNorm2d": lambda: nn.InstanceNorm2d(4),
            "InstanceNorm2d, affine": lambda: nn.InstanceNorm2d(4, affine=True),
            "InstanceNorm2d, statistics, evaluation": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
            "BatchNorm2d, evaluation": lambda: nn.BatchNorm2d(4),
            "FrozenBatchNorm2d": lambda: torchvision.ops.FrozenBatchNorm2d(4),
            "LayerNorm over channels": lambda: torchvision.models.convnext.LayerNorm2d(4),
            "LocalResponseNorm": lambda: nn.LocalResponseNorm(3, alpha=0.5),
        },
        group="layer",
    ),
    layer("signal", "InstanceNorm1d", lambda: nn.InstanceNorm1d(4, affine=True)),
    layer("signal", "BatchNorm1d, evaluation", lambda: nn.BatchNorm1d(4)),
    layer("volume", "InstanceNorm3d", lambda: nn.InstanceNorm3d(4)),
    layer("volume", "BatchNorm3d, evaluation", lambda: nn.BatchNorm3d(4)),
    layer("signal", "LocalResponseNorm, 1d", lambda: nn.LocalResponseNorm(2)),
    layer(
        "image",
        "InstanceNorm2d, statistics, training",
        lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        training=True,
        group="layer",
    ),
    layer(
        "image",
        "BatchNorm2d, training",
        lambda: nn.BatchNorm2d(4),
        training=True,
        refused=BATCH,
        group="layer",
    ),
    layer(
        "image",
        "BatchNorm2d without statistics",
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        refused=BATCH,
        group="layer",
    ),
    layer("image", "F.batch_norm(training=True)", lambda: standardised, refused="example", group="layer"),
    layer("vector", "mean over the batch", lambda: over_the_batch, refused="example"),
]

WEIGHTS = [
    *layers(
        "vector",
        {
            "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(8, 5)),
            "weight_norm, old": lambda: weight_norm(nn.Linear(8, 5)),
            "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 5)),
            "spectral_norm, old": lambda: spectral_norm(nn.Linear(8, 5)),
            "orthogonal by exponential": lambda: parametrizations.orthogonal(
                nn.Linear(8, 8), orthogonal_map="matrix_exp"
            ),
            "orthogonal by Cayley's map": lambda: parametrizations.orthogonal(
                nn.Linear(8, 8), orthogonal_map="cayley"
            ),
        },
        group="layer",
    ),
    layer(
        "image",
        "weight_norm of Conv2d",
        lambda: parametrizations.weight_norm(nn.Conv2d(4, 3, 3)),
        group="layer",
    ),
    layer(
        "image",
        "spectral_norm of Conv2d",
        lambda: parametrizations.spectral_norm(nn.Conv2d(4, 3, 3)),
        group="layer",
    ),
    layer(
        "vector",
        "spectral_norm, training",
        lambda: parametrizations.spectral_norm(nn.Linear(8, 5)),
        training=True,
        refused="eval()",
        group="layer",
    ),
]


def centred_weight(z: Tensor) -> Tensor:
    std, mean = torch.std_mean(z, dim=-1, keepdim=True)
    return (z - mean) / std


WEIGHTS += functions("vector", {"std_mean": centred_weight, "var": lambda z: z * z.var(-1, keepdim=True)})
