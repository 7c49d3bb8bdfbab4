"""A table as Markdown and as CSV."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midstream.command.results.table import Table
    from midstream.command.sweep.trial import Setting


def markdown(table: "Table") -> str:
    """Return a table in Markdown, with a line that explains its cells."""
    across = list(dict.fromkeys(_key(cell.settings, table.columns) for cell in table.cells))
    down = list(dict.fromkeys(_key(cell.settings, table.rows) for cell in table.cells))
    spreads = {
        (_key(cell.settings, table.rows), _key(cell.settings, table.columns)): cell.spread
        for cell in table.cells
    }
    counts = {spread.n for spread in spreads.values()}
    head = [*map(_words, table.rows)] + [_column(table, key) for key in across]
    lines = []
    for row in down:
        cells = [spreads.get((row, column)) for column in across]
        numbers = [
            "" if cell is None else f"{cell}" + f" (n = {cell.n})" * (len(counts) > 1) for cell in cells
        ]
        lines.append([*map(_setting, row), *numbers])
    return aligned(head, lines) + "\n\n" + _caption(table, counts)


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned.

    >>> print(aligned(["a", "b"], [["1", "long"]]))
    | a | b    |
    |---|------|
    | 1 | long |
    """
    head, lines = [_escaped(cell) for cell in head], [[_escaped(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [head, *lines]
    ]
    return "\n".join([written[0], rule, *written[1:]])


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def _key(settings: "Mapping[str, Setting]", names: Sequence[str]) -> "tuple[Setting, ...]":
    return tuple(settings[name] for name in names)


def _column(table: "Table", key: "tuple[Setting, ...]") -> str:
    if not key:
        return _words(table.value)
    return ", ".join(
        f"{_words(name)} {_setting(value)}" for name, value in zip(table.columns, key, strict=True)
    )


def _caption(table: "Table", counts: set[int]) -> str:
    value = f"{_words(table.value)}: " * bool(table.columns)
    plural = [f"{_words(name)}s" for name in table.over]
    if counts == {1}:
        return f"{value}one trial each.".capitalize()
    number = f"{counts.pop()} " if len(counts) == 1 else "n "
    text = f"{value}mean ± sample standard deviation over {number}{' × '.join(plural) or 'trials'}."
    return text[0].upper() + text[1:]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _setting(value: "Setting") -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
