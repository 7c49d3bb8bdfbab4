"""How many examples of a model are differentiated at a time, where its host has chosen a number."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from torch import nn

_chosen: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def choose_chunk_size(model: nn.Module, size: int | None) -> None:
    """Differentiate a model at `size` examples at a time; None leaves the number to each derivative.

    It applies to the derivatives that no caller gives a `chunk_size`. Other numbers round differently in the
    last bits.
    """
    if size is None:
        _chosen.pop(model, None)
    else:
        _chosen[model] = size


def chunk_size_of(model: nn.Module, given: int | None) -> int | None:
    """Return the caller's number if there is one, or the one chosen for the model, or None.

    >>> model = nn.Linear(2, 2)
    >>> choose_chunk_size(model, 100)
    >>> chunk_size_of(model, None), chunk_size_of(model, 7), chunk_size_of(nn.Linear(2, 2), None)
    (100, 7, None)
    """
    return _chosen.get(model) if given is None else given


def largest_chunk(fits: Callable[[int], bool], *, first: int, most: int) -> int:
    """Return the largest of `first`, twice it, four times it, …, and `most` up to which all sizes fit.

    Args:
        fits: whether a size fits in memory.
        first: the smallest size, which is returned even if it does not fit.
        most: the size of the whole set.

    >>> largest_chunk(lambda size: size <= 1500, first=250, most=5000)
    1000
    >>> largest_chunk(lambda size: True, first=250, most=600)
    600
    """
    size = first
    while size < most and fits(min(2 * size, most)):
        size *= 2
    return min(size, most)
