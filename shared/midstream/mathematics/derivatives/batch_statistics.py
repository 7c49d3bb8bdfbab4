"""Models with batch norm that trains, and the mode in which each of their derivatives is taken.

In a training step, batch norm uses the mean and variance of the minibatch, so the loss of an example depends
on all others. Players see the model in evaluation mode, where batch norm uses its running statistics. The
derivative of a step's loss is therefore taken in another mode than the model is in: the layers that
`use_batch_statistics` marks are switched for it, and it is taken over the whole minibatch at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from midstream.mathematics.derivatives.functional import refuse_coupled_examples
from midstream.mathematics.modes import switched

_MARK = "_midstream_statistics"
"""A mark is an attribute of its layer, so that copies of the model keep it."""


@dataclass(frozen=True)
class Statistics:
    """How the derivatives of a model with trained batch norm are taken.

    Attributes:
        validation_batch: None takes `v` in evaluation mode, with the running statistics. A number takes it as
            a training step would, with the statistics of batches of at most so many validation examples.
    """

    validation_batch: int | None = None

    def __post_init__(self) -> None:
        if self.validation_batch is not None and self.validation_batch < 2:
            raise ValueError(f"validation_batch must be at least 2 examples, not {self.validation_batch}")


def use_batch_statistics(model: nn.Module, *, validation_batch: int | None = None) -> None:
    """Take the derivatives of a step's loss with the statistics of the minibatch, as the step itself does.

    This marks the layers of batch norm that are in training mode now and track running statistics. The model
    may then be put into evaluation mode, as midstream's players see it. `midstream.mixed_derivative`,
    `midstream.batch_gradient` and whatever uses them switch the marked layers for the time of the call, and
    treat the minibatch as one. They leave the running statistics as they are, and treat them as constants.

    Args:
        model: the model; layers without a mark keep their mode.
        validation_batch: None takes `v` in evaluation mode; a number takes it with the statistics of batches
            of at most so many validation examples.

    Raises:
        ValueError: `validation_batch` is below 2.

    >>> import torch, midstream
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    >>> use_batch_statistics(model)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> v = midstream.validation_gradient(model.eval(), x, y)
    >>> midstream.mixed_derivative(model, x, y, v).shape
    torch.Size([5, 4])
    """
    statistics = Statistics(validation_batch)
    for layer in _batch_norms(model):
        if layer.training and layer.running_mean is not None:
            vars(layer)[_MARK] = statistics


@contextmanager
def using_batch_statistics(model: nn.Module, *, validation_batch: int | None = None) -> Iterator[None]:
    """Call `use_batch_statistics`, and remove the marks at the end of this context."""
    before = {layer: vars(layer).get(_MARK) for layer in _batch_norms(model)}
    use_batch_statistics(model, validation_batch=validation_batch)
    try:
        yield
    finally:
        for layer, mark in before.items():
            vars(layer).pop(_MARK, None)
            if mark is not None:
                vars(layer)[_MARK] = mark


def statistics_of(model: nn.Module) -> Statistics | None:
    """Return the choice that `use_batch_statistics` made for a model; None if it marked no layer."""
    return next((vars(layer)[_MARK] for layer in _batch_norms(model) if _MARK in vars(layer)), None)


def couples(model: nn.Module) -> bool:
    """Return whether a marked layer is in training mode now, so that the examples of a batch are coupled."""
    return any(layer.training and _MARK in vars(layer) for layer in _batch_norms(model))


@contextmanager
def as_trained(model: nn.Module) -> Iterator[bool]:
    """Switch the marked layers to training mode within this context; yield whether there are any.

    The layers use the statistics of their batch and leave the running statistics alone.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    >>> use_batch_statistics(model)
    >>> with as_trained(model.eval()):
    ...     [layer.training for layer in model]
    [False, True, False]
    """
    marked = [layer for layer in _batch_norms(model) if _MARK in vars(layer)]
    tracked = [layer.track_running_stats for layer in marked]
    with switched([layer for layer in marked if not layer.training], training=True):
        for layer in marked:
            layer.track_running_stats = False  # so that a call does not write to the running statistics
        try:
            yield bool(marked)
        finally:
            for layer, value in zip(marked, tracked, strict=True):
                layer.track_running_stats = value


def refuse_other_coupling(model: nn.Module) -> None:
    """Raise `DerivativeError` if batch norm without a mark couples the examples of a batch."""
    refuse_coupled_examples(model, known=lambda layer: _MARK in vars(layer))


def _batch_norms(model: nn.Module) -> Iterator[_BatchNorm]:
    return (layer for layer in model.modules() if isinstance(layer, _BatchNorm))
