"""How a plug-in is named: installed names, `name,option=value,…`, and the plus sign between defenders."""

import re
import sys
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Literal

from midstream.errors import MidstreamError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Kind = Literal["attackers", "defenders", "checkers", "models", "datasets", "optimizers", "losses"]

SINGULAR: dict[str, str] = {
    "attackers": "attacker",
    "defenders": "defender",
    "checkers": "checker",
    "models": "model",
    "datasets": "data set",
    "optimizers": "optimizer",
    "losses": "loss",
}

LIBRARIES = ("torchvision", "timm")
"""Libraries whose networks are named as `LIBRARY:NAME`."""

_PLUS = re.compile(r"\+(?!\d)")  # not that of 1e+3
_INSIDE_A_PATH = re.compile(r"[^:,]*/[^:,]*")


class PluginError(MidstreamError, ValueError):
    """A plug-in does not exist or cannot be used; the message says what was expected."""


def names(kind: Kind) -> list[str]:
    """Return the installed names of one kind.

    >>> "mnist-cnn" in names("models")
    True
    """
    return sorted(installed(kind).names)


def installed(kind: Kind) -> "EntryPoints":
    """Return the entry points of one kind, of all packages on the present `sys.path`."""
    return _read(f"midstream.{kind}", tuple(sys.path))


@cache
def _read(group: str, path: tuple[str, ...]) -> "EntryPoints":  # noqa: ARG001, another path has others
    """Read entry points. It takes milliseconds, and a sweep asks for each player of each game."""
    from importlib.metadata import entry_points  # takes longer to import than all of this module

    return entry_points(group=group)


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Split `name,option=value,…` into the name and the options.

    Raises:
        PluginError: an option has no equals sign or no name, or is set twice.

    >>> parse("level-1,beta=0.9")
    ('level-1', {'beta': '0.9'})
    """
    name, *parts = text.split(",")
    options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise PluginError(f"{part!r} in {text!r} is not an option; write it as option=value")
        if key.strip() in options:
            raise PluginError(f"{text!r} sets {key.strip()} twice; set it once")
        options[key.strip()] = value.strip()
    return name.strip(), options


def members(text: str) -> list[str]:
    """Split combined defenders, `name,option=value+name2,option=value`, at the plus signs.

    A plus sign before a digit is part of a number. A plus sign between the slash and the colon of a path is
    part of the path.

    >>> members("level-1+mine.py:Scale,rate=1e+3+./a+b.py:Mine")
    ['level-1', 'mine.py:Scale,rate=1e+3', './a+b.py:Mine']
    """
    first, *others = _PLUS.split(text)
    found = [first]
    for piece in others:
        if _INSIDE_A_PATH.fullmatch(found[-1]):
            found[-1] += f"+{piece}"
        else:
            found.append(piece)
    return [member.strip() for member in found]


def numbered_level(name: str, kind: Kind) -> tuple[str, dict[str, str]]:
    """Return `level-k` and the option k for a name such as `level-3`; any other name is returned unchanged.

    >>> numbered_level("level-3", "attackers")
    ('level-k', {'k': '3'})
    """
    level = re.fullmatch(r"level-(\d+)", name)
    return ("level-k", {"k": level[1]}) if level and name not in names(kind) else (name, {})


def unknown(what: str, name: str, known: Collection[str], otherwise: str = "") -> str:
    """Return the message for an unknown name: the nearest known name, and all of them.

    Args:
        what: what the name stands for, such as `attacker`.
        name: the unknown name.
        known: the names that exist.
        otherwise: other forms that a name may have.
    """
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    listing = f" Known: {', '.join(sorted(known))}." if known else " There are none."
    return f"there is no {what} called {name!r}{hint}{listing}" + (
        f" Or write {otherwise}." if otherwise else ""
    )
