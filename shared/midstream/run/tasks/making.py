"""A run's task: the kind that its data set has, and the loss that its specification names."""

from collections.abc import Collection
from functools import partial

from midstream import plugins
from midstream.mathematics.loss import Loss
from midstream.plugins.naming import PluginError
from midstream.tasks.task import USUAL_LOSS, Kind, Task

_ONLY: dict[str, tuple[Kind, ...]] = {
    "cross-entropy": ("classification",),
    "mse": ("regression",),
    "huber": ("regression",),
    "bce": ("multi-label",),
}
"""The kinds of tasks that a loss with a name of its own is for; a loss of your own is for any."""


def task_of(kind: Kind, loss: str | None = None, *, allowed: Collection[str] | None = None) -> Task:
    """Return a task with its loss.

    Args:
        kind: the kind, which the data set decides.
        loss: `cross-entropy`, `mse`, `huber,delta=1.0`, `bce` or `package.module:function`, with its options;
            None for the usual one of the kind. A function `(outputs, targets) -> scalar` must sum over the
            batch; the check of the model's derivatives refuses one that does not.
        allowed: the paths that may be imported if the name came over a network; None allows all.

    Raises:
        midstream.plugins.PluginError: there is no such loss, it is not allowed, or it is for another kind.

    >>> task_of("regression").loss_name
    'mse'
    >>> task_of("regression", "bce")
    Traceback (most recent call last):
    midstream.plugins.naming.PluginError: loss 'bce' is for multi-label, and the data for regression; use mse
    """
    text = loss or USUAL_LOSS[kind]
    name, _ = plugins.parse(text)
    kinds = _ONLY.get(name, (kind,))
    if kind not in kinds:
        raise PluginError(
            f"loss {text!r} is for {' or '.join(kinds)}, and the data for {kind}; use {USUAL_LOSS[kind]}"
        )
    return Task(kind, text, _loss(text, allowed))


def _loss(text: str, allowed: Collection[str] | None) -> Loss:
    made = plugins.configured("losses", text, allowed=allowed, given=2)
    # Without options it is the function itself, so that what is known of it holds: stacks know cross-entropy.
    return made.func if isinstance(made, partial) and not made.keywords else made
