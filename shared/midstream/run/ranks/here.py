"""The ranks that this process leads, if it leads any; a setting of the whole process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from midstream.mathematics.derivatives.orders import Order
from midstream.protocol.specification import Specification

Reduce = Literal["sum", "exact"]
"""How the ranks add up.

`sum` divides every set of examples evenly. `exact` divides between chunks only, and adds them in the order of
one process, to the same bits.
"""

ShareModel = Callable[[nn.Module, Mapping[str, object], tuple[Tensor, Tensor]], None]

_share: ShareModel | None = None
_recorded: dict[str, int | str] = {}


def lead(sharing: ShareModel | None, *, world: int = 1, reduce: Reduce = "sum") -> None:
    """Have models of this process shared with other ranks from now on; None ends that.

    Args:
        sharing: called with each model, its description and its validation set.
        world: how many ranks there are.
        reduce: how they add up.
    """
    global _share, _recorded
    _share = sharing
    _recorded = {} if sharing is None else {"ranks": world, "reduce": reduce}


def recorded() -> dict[str, int | str]:
    """Return what a run records of its ranks: `ranks` and `reduce`; nothing in one process.

    >>> recorded()
    {}
    """
    return dict(_recorded)


def share(model: nn.Module, description: Mapping[str, object], validation: tuple[Tensor, Tensor]) -> None:
    """Share the derivatives of a model with the other ranks, if there are any.

    Args:
        model: the model, with its order of derivatives and its chunk size.
        description: what the others build it from, a `midstream.run.ranks.work.Description` as JSON values.
        validation: the set over which `v` is taken.
    """
    if _share is not None:
        _share(model, description, validation)


def share_run_model(
    model: nn.Module,
    specification: Specification,
    classes: Sequence[str],
    order: Order,
    validation: tuple[Tensor, Tensor],
) -> None:
    """Share the derivatives of a run's model, or of the attacker's copy of it; see `share`.

    Args:
        model: the model.
        specification: how the other ranks build the model.
        classes: the run's classes.
        order: the order of the second derivatives.
        validation: the set over which `v` is taken.
    """
    description = {
        "model": specification.model,
        "input_shape": list(validation[0].shape[1:]),
        "classes": len(classes),
        "batch_norm": specification.batch_norm,
        "batch_size": specification.batch_size,
        "seed": specification.seed,
        "order": order,
    }
    share(model, description, validation)
