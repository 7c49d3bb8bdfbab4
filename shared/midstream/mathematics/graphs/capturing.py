"""Whether this process captures functions as CUDA graphs. Without torch, so that `--help` is quick."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

_on = True
_here = local()


def switch(on: bool) -> None:
    """Choose whether functions are captured where that is possible; this holds for the whole process."""
    global _on
    _on = on


def switched_on() -> bool:
    """Return whether functions are captured where that is possible."""
    return _on


@contextmanager
def one_program() -> Iterator[None]:
    """Mark that this thread runs a part of a game as one program, which may be captured.

    The host has checked the inputs of such a program, and reads nothing back in it: `Budget.check` does not
    repeat the check, and a program in the program is called.
    """
    before, _here.within = within_program(), True
    try:
        yield
    finally:
        _here.within = before


def within_program() -> bool:
    """Return whether this thread is within `one_program`.

    >>> with one_program():
    ...     within_program()
    True
    >>> within_program()
    False
    """
    return getattr(_here, "within", False)
