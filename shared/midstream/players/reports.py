"""The numbers that a player reports about a move."""

import math
import re
from reprlib import repr as shortened

REPORTS = 16
"""How many numbers a player may report for one move."""


def check_report(name: object, value: object) -> None:
    """Refuse a report that the metrics cannot hold.

    Raises:
        ValueError: the number is not finite, or its name is not lower case.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ValueError(f"{shortened(name)} is not a valid report name: lower case, at most 40 characters")
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"report {name} is {shortened(value)}, which is not a finite number")
