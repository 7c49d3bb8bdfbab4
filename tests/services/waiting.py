"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

LONGEST = 120.0  # seconds; a condition that holds is seen at once


def until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as a condition holds; fail, saying what was waited for, where it never does."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, f"waited {LONGEST:.0f} s in vain for {what}"
        time.sleep(0.02)
