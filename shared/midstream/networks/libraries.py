"""The networks of torchvision and timm, as `torchvision:NAME` and `timm:NAME`."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from midstream.errors import MidstreamError
from midstream.networks.classifiers import Shape

Factory = Callable[[Shape, int], nn.Module]

_WITHOUT_AUXILIARY = ("googlenet", "inception_v3")
"""Networks of torchvision that return further outputs in training mode, unless told not to."""


class UnknownNetworkError(MidstreamError, ValueError):
    """A library is not installed, or has no network of the name; the message says which."""


def maker(library: str, name: str) -> Factory:
    """Return the maker of an untrained classifier of torchvision or timm.

    Args:
        library: `torchvision`, for a classifier of `torchvision.models`, or `timm`.
        name: the network's name there.

    Raises:
        UnknownNetworkError: the library is not installed, or has no network of this name.

    >>> model = maker("torchvision", "squeezenet1_1")((3, 32, 32), 10)
    >>> sum(p.numel() for p in model.parameters())
    727626
    """
    return _torchvision(name) if library == "torchvision" else _timm(name)


def _torchvision(name: str) -> Factory:
    models = _library("torchvision.models", "datasets")
    if name not in (known := models.list_models(module=models)):
        raise UnknownNetworkError(f"torchvision has no classifier {name!r}; it has {', '.join(known)}")
    return partial(_of_torchvision, name)


def _timm(name: str) -> Factory:
    library = _library("timm", "timm")
    if not library.is_model(name):
        near = library.list_models(f"*{name.partition('_')[0]}*")[:8]
        listed = f"; similar names are {', '.join(near)}" if near else ""
        raise UnknownNetworkError(f"timm has no network {name!r}{listed}")
    return partial(_of_timm, name)


def _of_torchvision(name: str, input_shape: Shape, classes: int) -> nn.Module:
    if input_shape[0] != 3:
        raise ValueError(f"torchvision's networks take 3 channels, and the images have {input_shape[0]}")
    options: dict[str, Any] = {"num_classes": classes, "weights": None}
    if name.startswith("vit_"):
        options["image_size"] = input_shape[1]
    elif name.startswith("maxvit_"):
        options["input_size"] = input_shape[1:]
    elif name in _WITHOUT_AUXILIARY:
        options |= {"aux_logits": False, "init_weights": True}
    made: nn.Module = _library("torchvision.models", "datasets").get_model(name, **options)
    return made


def _of_timm(name: str, input_shape: Shape, classes: int) -> nn.Module:
    create = _library("timm", "timm").create_model
    options = {"pretrained": False, "num_classes": classes, "in_chans": input_shape[0]}
    try:
        made: nn.Module = create(name, img_size=tuple(input_shape[1:]), **options)
    except TypeError:  # a network for images of any size
        made = create(name, **options)
    return made


def _library(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UnknownNetworkError(
            f"{package} is not installed; install midstream[{extra}], or {package} itself"
        ) from error
