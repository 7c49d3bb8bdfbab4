"""Build a model by name, in the same way on every side of the game."""

from collections.abc import Collection

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from midstream import plugins
from midstream.mathematics.derivatives.batch_statistics import refuse_other_coupling, use_batch_statistics
from midstream.mathematics.modes import BatchNorm, layers_in_training_mode, switched
from midstream.players.culprit import place
from midstream.run.fine_tuning import separated


def build_model(
    name: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    batch_norm: BatchNorm = "refuse",
    batch_size: int | None = None,
    allowed: Collection[str] | None = None,
) -> nn.Module:
    """Build the network with a given name, with convolutions in channels-last layout.

    Channels-last is faster on a CPU. Both sides must use the same layout to get equal bits. Except for batch
    norm, the network stays in the mode in which its factory returned it, usually training mode.

    Batch norm in training mode couples the examples of a batch, so a single input has no derivative of its
    own, and such a network is refused unless `batch_norm` says how to treat it. In evaluation mode, a layer
    uses its running statistics, which stay as the factory returned them. With mean 0 and variance 1, as in a
    new layer, it does not normalise: it only scales and shifts each channel, by trained parameters. In
    training, each step uses the statistics of its minibatch and updates the running ones.

    Args:
        name: an installed name, `torchvision:NAME`, `timm:NAME` or `package.module:function`, called with
            `(input_shape, classes)`, and its options, for example `mnist-cnn,dropout=0.2`; every model takes
            those of `midstream.run.fine_tuning`, too.
        input_shape: shape of one input.
        classes: how many classes there are.
        batch_norm: `refuse` a network with batch norm in training mode, or put batch norm permanently into
            `evaluation` mode, or prepare it for `training` by `midstream.use_batch_statistics`;
            `training-with-v` does so for `v`, too.
        batch_size: examples of the batches that `training-with-v` takes `v` over; it needs this.
        allowed: paths that may be imported, if the name arrived over a network; None allows all.

    Raises:
        midstream.plugins.PluginError: there is no such model, it is not allowed, it cannot be built, it
            has batch norm that is refused, or nothing to train, or it does not return one logit per class.

    >>> sum(p.numel() for p in build_model("mnist-cnn", (1, 28, 28), 10).parameters())
    92330
    """
    plain, fine_tuning = separated(name, allowed=allowed)
    factory = plugins.configured("models", plain, allowed=allowed, given=2)
    try:
        model = factory(input_shape, classes)
    except Exception as error:
        reason = str(error) if isinstance(error, (ValueError, TypeError)) else repr(error)
        raise plugins.PluginError(
            f"model {name!r} for inputs of shape {input_shape}: {reason}{place(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise plugins.PluginError(f"model {name!r} is a {type(model).__name__}, not a torch.nn.Module")
    fine_tuning.apply(model)
    _settle(model, name, batch_norm, batch_size)
    _check(model, name, input_shape, classes)
    return model.to(memory_format=torch.channels_last)


def _settle(model: nn.Module, name: str, batch_norm: BatchNorm, batch_size: int | None) -> None:
    if batch_norm == "evaluation":
        for layer in model.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
    try:
        if batch_norm in ("training", "training-with-v"):
            with_v = batch_norm == "training-with-v"
            use_batch_statistics(model, validation_batch=batch_size if with_v else None)
        refuse_other_coupling(model)
    except ValueError as error:
        way_out = (
            " Or train it on the statistics of each minibatch: set batch_norm: training (on the command "
            "line, --batch-norm training). Or keep the initial running statistics: batch_norm: evaluation "
            "(--batch-norm evaluation)."
        )
        raise plugins.PluginError(f"model {name!r}: {error}{way_out * (batch_norm == 'refuse')}") from error


def _check(model: nn.Module, name: str, input_shape: tuple[int, ...], classes: int) -> None:
    """Refuse a network that cannot be trained, or that does not return one logit per class."""
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        what = f"{len(parameters)} parameters, all of them frozen (requires_grad=False)"
        raise plugins.PluginError(
            f"model {name!r} has {what if parameters else 'no parameters'}: there is nothing to train"
        )
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    images = torch.zeros(2, *input_shape)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.no_grad(),
            switched(layers_in_training_mode(model), training=False),
        ):
            outputs = model(images)
    except Exception as error:
        raise plugins.PluginError(
            f"model {name!r} fails on inputs of {images.dtype} and shape {tuple(images.shape)}: {error!r}"
        ) from error
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
    if not isinstance(outputs, torch.Tensor):
        raise plugins.PluginError(
            f"model {name!r} returns a {type(outputs).__name__}, not a tensor of a logit for each class"
        )
    if outputs.shape != (2, classes):
        raise plugins.PluginError(
            f"model {name!r} returns outputs of shape {tuple(outputs.shape)} for 2 inputs, not "
            f"{(2, classes)}, a logit for each of {classes} classes"
        )
