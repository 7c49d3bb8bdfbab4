"""Forward-mode differentiation, for one thread at a time."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock

import torch
from torch.func import jvp

_ONE = RLock()


@contextmanager
def forward_mode() -> Iterator[None]:
    """Call `torch.func.jvp` within this context only. Other threads wait.

    torch counts the levels of forward mode for the whole process. If two threads are in it at once, the first
    that leaves it takes the tangents away from the other, whose derivative then fails, or is wrong without an
    error.

    >>> with forward_mode():
    ...     jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))[1]
    tensor([1.])
    """
    with _ONE:
        _load()
        yield


@cache
def _load() -> None:
    """Load torch's forward-mode rules now, hiding a deprecation warning that torch itself causes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        jvp(torch.neg, (torch.zeros(1),), (torch.zeros(1),))
