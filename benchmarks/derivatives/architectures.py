"""The architectures of the sweep."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmarks.derivatives import attention, hand_written, sequences
from benchmarks.derivatives.case import CLASSES, Case
from benchmarks.derivatives.vision import VISION
from midstream import plugins

Network = Callable[[], nn.Module]

_IMAGES: dict[str, Network] = {
    "MLP-Mixer": hand_written.mlp_mixer,
    "ConvMixer, batch norm, evaluation": hand_written.conv_mixer,
    "U-Net, group and instance norm": hand_written.UNet,
    "squeeze and excitation": hand_written.SqueezeAndExcite,
    "spectrally normalised discriminator": hand_written.discriminator,
    "network without norms, standardised weights": hand_written.without_norms,
}

_SEQUENCES: dict[str, Network] = {
    **{
        f"transformer encoder, {activation}, norm {'first' if first else 'last'}": partial(
            sequences.Encoder, norm_first=first, activation=activation
        )
        for first in (False, True)
        for activation in ("relu", "gelu")
    },
    "transformer encoder, causal": partial(
        sequences.Encoder, norm_first=True, activation="gelu", causal=True
    ),
    "transformer, encoder and decoder": sequences.Translator,
    "LSTM classifier": lambda: sequences.Recurrent(nn.LSTM(4, 8, batch_first=True), 8),
    "LSTM classifier, two layers, both ways": lambda: sequences.Recurrent(
        nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True), 16
    ),
    "GRU classifier": lambda: sequences.Recurrent(nn.GRU(4, 8, batch_first=True), 8),
    "temporal convolutions, weight norm": sequences.temporal_convolutions,
    "Fourier neural operator": sequences.FourierOperator,
    "PointNet": sequences.PointNet,
    "graph convolution": sequences.GraphConvolution,
    "Perceiver": sequences.Perceiver,
}

_VECTORS: dict[str, Network] = {
    "mixture of experts": sequences.Mixture,
    "hypernetwork": sequences.Hypernetwork,
    "neural differential equation": sequences.DifferentialEquation,
}


def scripted() -> nn.Module:
    model: nn.Module = torch.jit.script(_perceptron())
    return model


def traced() -> nn.Module:
    model: nn.Module = torch.jit.trace(_perceptron(), torch.rand(3, 6))  # type: ignore[no-untyped-call]
    return model


def compiled() -> nn.Module:
    return torch.compile(_perceptron(), backend="eager")  # type: ignore[return-value]


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, CLASSES))


WRAPPED = [
    Case("DataParallel", lambda: nn.DataParallel(_perceptron()), (6,), refused="give the model"),
    Case("scripted module", scripted, (6,), refused="script"),
    Case("traced module", traced, (6,), refused="script"),
    Case("compiled module", compiled, (6,), refused="give the model"),
    Case("dictionary output", sequences.Dictionary, (6,), refused="dict"),
    Case("tuple output", sequences.Auxiliary, (6,), refused="tuple"),
    Case("numbers of words as inputs", attention.Sentences, (6,), inputs=attention.words, refused="int64"),
]

# Each of midstream's own networks, at the least size of image that it is for; large ones are made narrow.
_OWN = {
    "logistic": 8,
    "digits-cnn": 8,
    "mnist-cnn": 28,
    "small-cnn": 28,
    "cifar-cnn": 32,
    "photo-cnn": 224,
    "mlp": 8,
    "resnet18,norm=group,width=16": 32,
    "wide-resnet,norm=group,width=1": 32,
    "vit-tiny,width=48": 32,
    "convnext-tiny,width=24": 32,
}


def own(name: str, side: int) -> Case:
    """Return a network of midstream's by its name."""
    shape = (3, side, side)
    return Case(
        f"`{name}`", lambda: plugins.configured("models", name, given=2)(shape, CLASSES), shape, batch=2
    )


TIMM = ("vit_tiny_patch16_224", "convnext_atto", "mixer_s16_224", "resnet10t")


def timm(name: str) -> Case:
    """Return a model of the package timm, for 64×64 images where it can."""

    def network() -> nn.Module:
        from timm import create_model

        sized: dict[str, Any] = {} if name.startswith(("convnext", "resnet")) else {"img_size": 64}
        model: nn.Module = create_model(name, num_classes=CLASSES, **sized)
        return model

    return Case(f"timm's {name}", network, (3, 64, 64), batch=2)


def architectures() -> list[Case]:
    """Return every architecture; timm's where it is installed, which `skipped` tells."""
    cases = [
        *VISION,
        *(Case(name, network, (3, 16, 16)) for name, network in _IMAGES.items()),
        *(Case(name, network, (6, 4)) for name, network in _SEQUENCES.items()),
        *(Case(name, network, (6,)) for name, network in _VECTORS.items()),
        Case("autoencoder with tied weights", sequences.TiedAutoencoder, (12,)),
        *WRAPPED,
        *(own(name, side) for name, side in _OWN.items()),
        *([] if skipped() else map(timm, TIMM)),
    ]
    return [replace(case, group="architecture") for case in cases]


def skipped() -> str:
    """Return what is left out, and why."""
    return "" if find_spec("timm") else f"timm is not installed: {len(TIMM)} of its models are left out"
