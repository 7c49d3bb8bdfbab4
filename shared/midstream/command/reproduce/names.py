"""The names of the tables and figures that can be reproduced."""

from functools import cache
from importlib.resources import files

DRAWN = ("figure-3", "figure-6", "figure-a8")
"""Figures that are drawings, not grids of games."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of all tables and figures that are grids.

    >>> names()[0], names()[-1]
    ('table-2', 'figure-a10')
    """
    entries = (files("midstream.command.reproduce") / "tables").iterdir()
    found = [entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml")]
    return tuple(sorted(found, key=_order))


def _order(name: str) -> tuple[bool, bool, int]:
    kind, number = name.split("-")
    return kind != "table", number.startswith("a"), int(number.removeprefix("a"))
