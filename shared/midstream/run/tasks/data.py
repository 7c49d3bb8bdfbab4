"""Whether the data of another task than classification can be trained on. Each check returns a reason."""

import math

from torch import Tensor

from midstream.tasks.targets import fault
from midstream.tasks.task import USUAL_LOSS, Kind


def check_names(task: Kind, names: int) -> str | None:
    """Return why a task with so many names of outputs cannot be learned; None if it can.

    >>> check_names("regression", 0)
    'it names 0 targets; name each target of the regression in classes'
    """
    if task not in USUAL_LOSS:
        return f"its task is {task!r}, which is none of {', '.join(USUAL_LOSS)}"
    if task != "classification" and not names:
        return f"it names 0 targets; name each target of the {task} in classes"
    return None


def check_targets(task: Kind, targets: Tensor, examples: int, outputs: int) -> str | None:
    """Return what is wrong with the targets of one part of a data set; None if nothing is.

    Args:
        task: `regression` or `multi-label`.
        targets: on the CPU.
        examples: the number of inputs.
        outputs: the number of names.
    """
    if (reason := fault(task, targets, length=examples, outputs=outputs)) is not None:
        return f"its targets {reason}"
    still = (targets == targets[0]).all(dim=0).nonzero().flatten().tolist()
    if task == "regression" and still:
        value = float(targets[0, still[0]])
        return f"all {examples} targets number {still[0]} are {value:g}; R² needs two values"
    if task == "multi-label" and not bool((targets > 0.5).any()):
        return f"none of its {examples} examples has a label; the measures need one at least"
    return None


def check_scale(scale: object, columns: int) -> str | None:
    """Return what is wrong with the scale of a data set's columns; None if nothing is.

    Args:
        scale: numbers, one for each column; None for 1 everywhere.
        columns: the last dimension of an input.

    >>> check_scale((1.0, 0.0), 3)
    'its scale has 2 numbers for 3 columns; give one for each, 0 for a column that may not move'
    """
    if scale is None:
        return None
    if not isinstance(scale, tuple) or not all(isinstance(one, (int, float)) for one in scale):
        return f"its scale is a {type(scale).__name__}; give a tuple of numbers, one for each column"
    if len(scale) != columns:
        return (
            f"its scale has {len(scale)} numbers for {columns} columns; give one for each, 0 for a column "
            f"that may not move"
        )
    if not all(0 <= one < math.inf for one in scale) or not any(scale):
        return f"its scale is {scale}; each number is finite and at least 0, and one is above 0"
    return None


def deviations(inputs: Tensor, *, fixed: tuple[int, ...] = ()) -> tuple[float, ...]:
    """Return the standard deviation of each column, for a data set's `scale`.

    Args:
        inputs: the training inputs, `(examples, columns)`.
        fixed: the columns that may not move; their scale is 0.

    >>> import torch
    >>> deviations(torch.tensor([[0.0, 5.0], [2.0, 7.0]]), fixed=(1,))
    (1.0, 0.0)
    """
    found: list[float] = inputs.double().std(dim=0, correction=0).tolist()
    return tuple(0.0 if column in fixed else value for column, value in enumerate(found))
