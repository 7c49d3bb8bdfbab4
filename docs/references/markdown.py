"""What the reference pages are written with."""

import re
from collections.abc import Iterable, Sequence

WRITTEN = "<!-- Written from the code by `make references`; changes belong there. -->\n"


class Undocumented(ValueError):
    """Something that a person can set, call or implement says nothing about itself."""


def described(what: str, text: str | None) -> str:
    """Return a description on one line.

    Raises:
        Undocumented: it is empty.
    """
    words = " ".join((text or "").split())
    if not words:
        raise Undocumented(f"{what} has no description")
    return words


def body(what: str, docstring: str | None) -> str:
    """Return the prose of a docstring, before its sections and its examples.

    Raises:
        Undocumented: there is none.

    >>> body("f", "Do it.\\n\\nOften.\\n\\nArgs:\\n    x: what.")
    'Do it.\\n\\nOften.'
    """
    prose = re.split(r"^(?:Args|Attributes|Returns|Raises):$|^>>> ", docstring or "", flags=re.MULTILINE)[0]
    described(what, prose)
    return prose.strip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table.

    >>> print(table(["a", "b"], [["1", "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [list(head), *(list(row) for row in rows)]
    written = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([written[0], "|" + "---|" * len(head), *written[1:]])


def code(text: object) -> str:
    """Return text between backticks; nothing for nothing."""
    return f"`{text}`" if str(text) else ""
