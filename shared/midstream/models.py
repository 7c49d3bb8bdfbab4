"""Building a model by name, the same way on every side of the game."""

from collections.abc import Collection

import torch
from torch import nn

from midstream import plugins


def build_model(
    name: str, input_shape: tuple[int, ...], classes: int, *, allowed: Collection[str] | None = None
) -> nn.Module:
    """Return the network that a name stands for, its convolutions laid out channels-last.

    That layout is the faster one on a CPU, and both sides must have the same for equal bits. The network is
    in the mode that its maker left it in, which is training mode for most.

    Args:
        name: an installed name or `package.module:function`, called with `(input_shape, classes)`, and its
            options, such as `mnist-cnn,dropout=0.2`.
        input_shape: shape of one input.
        classes: how many classes there are.
        allowed: the paths that may be imported, where the name came over a network; None allows all.

    Raises:
        midstream.plugins.PluginError: there is no such model, it is not allowed, or it could not be built.

    >>> sum(p.numel() for p in build_model("mnist-cnn", (1, 28, 28), 10).parameters())
    92330
    """
    factory = plugins.configured("models", name, allowed=allowed, given=2)
    try:
        model = factory(input_shape, classes)
    except Exception as error:
        raise plugins.PluginError(f"model {name!r} for inputs of shape {input_shape}: {error}") from error
    if not isinstance(model, nn.Module):
        raise plugins.PluginError(f"model {name!r} is a {type(model).__name__}, not a torch.nn.Module")
    return model.to(memory_format=torch.channels_last)
