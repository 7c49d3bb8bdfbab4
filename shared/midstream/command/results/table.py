"""Tables of a sweep: one value, grouped by settings, as mean and deviation over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from midstream.command.results.spread import Spread, spread
from midstream.command.sweep.trial import Setting
from midstream.errors import MidstreamError
from midstream.plugins.naming import unknown

Settings = Mapping[str, Setting]
"""The settings of one trial."""

SEED = ("seed",)

# Settings that make the rows of a table by default, if they vary: in this order.
_FIRST = ("dataset", "model", "access", "attacker", "attack_epsilon", "epsilon", "norm")


class TableError(MidstreamError, ValueError):
    """A table cannot be made; the message says which setting or value is the reason."""


@dataclass(frozen=True)
class Cell:
    """One group of trials that differ only in their seeds.

    Attributes:
        settings: the settings of the group's row and column.
        spread: the spread of its values.
        over: the seeds behind it.
    """

    settings: Settings
    spread: Spread
    over: tuple[Setting, ...]


@dataclass(frozen=True)
class Table:
    """A table of one value.

    Attributes:
        value: name of the value, such as `test_accuracy`.
        rows: the settings that name a row.
        columns: the settings that name a column; none for a table with a single column.
        over: the settings that each cell averages over.
        cells: the cells, row by row; a group without a trial has no cell.
    """

    value: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    over: tuple[str, ...]
    cells: tuple[Cell, ...]

    def document(self) -> dict[str, object]:
        """Return the table as one JSON value, with one object per cell."""
        return {
            "value": self.value,
            "rows": list(self.rows),
            "columns": list(self.columns),
            "over": list(self.over),
            "cells": self.records(),
        }

    def records(self) -> list[dict[str, object]]:
        """Return one record per cell: its settings, mean, deviation and n."""
        return [
            {
                **cell.settings,
                "mean": cell.spread.mean,
                "deviation": cell.spread.deviation,
                "n": cell.spread.n,
            }
            for cell in self.cells
        ]

    def cell(self, **settings: Setting) -> Cell | None:
        """Return the cell with these settings, or None."""
        found = (cell for cell in self.cells if {**cell.settings} == settings)
        return next(found, None)

    def markdown(self) -> str:
        """Return the table in Markdown, its cells as mean ± sample standard deviation."""
        from midstream.command.results.table_text import markdown

        return markdown(self)

    _repr_markdown_ = markdown

    __str__ = markdown


def tabulate(
    points: Sequence[tuple[Settings, float]],
    *,
    value: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    over: Sequence[str] = SEED,
) -> Table:
    """Return the table of values that were measured under settings.

    Args:
        points: the settings and the value of each trial.
        value: name of the value.
        rows: settings that name a row; by default those that vary, other than `columns` and `over`.
        columns: settings that name a column; `defender` by default, if it varies.
        over: settings that each cell averages over.

    Raises:
        TableError: a setting does not exist, or a cell would mix trials that differ in another setting.

    >>> points = [({"attacker": a, "seed": s}, 0.1 * s) for a in ("none", "pgd") for s in (1, 2, 3)]
    >>> print(tabulate(points, value="test_accuracy"))
    | attacker | test accuracy |
    |----------|---------------|
    | none     | 0.200 ± 0.100 |
    | pgd      | 0.200 ± 0.100 |
    <BLANKLINE>
    Mean ± sample standard deviation over 3 seeds.
    """
    if not points:
        raise TableError(f"there is no finished trial with a {value.replace('_', ' ')}")
    known = list(dict.fromkeys(name for settings, _ in points for name in settings))
    for name in (*(rows or ()), *(columns or ()), *over):
        if name not in known:
            raise TableError(unknown("setting", name, known))
    if columns is None:
        vary = _varies("defender", [settings for settings, _ in points])
        columns = ("defender",) if vary and "defender" not in (*(rows or ()), *over) else ()
    if rows is None:
        rows = _rows([settings for settings, _ in points], known, columns, over)
    names = (*rows, *columns)
    groups: dict[tuple[Setting, ...], list[tuple[Settings, float]]] = {}
    for settings, number in points:
        groups.setdefault(tuple(settings.get(name) for name in names), []).append((settings, number))
    for group in groups.values():
        _refuse_mixed([settings for settings, _ in group], known, names, over)
    return Table(
        value, tuple(rows), tuple(columns), tuple(over), tuple(_cell(names, over, g) for g in groups.values())
    )


def _cell(names: Sequence[str], over: Sequence[str], group: Sequence[tuple[Settings, float]]) -> Cell:
    first = group[0][0]
    return Cell(
        {name: first.get(name) for name in names},
        spread([number for _, number in group]),
        tuple(settings.get(over[0]) if over else None for settings, _ in group),
    )


def _varies(name: str, trials: Sequence[Settings]) -> bool:
    return len({settings.get(name) for settings in trials}) > 1


def _rows(
    trials: Sequence[Settings], known: Sequence[str], columns: Sequence[str], over: Sequence[str]
) -> list[str]:
    """Return the settings that tell trials apart, leaving out those that others determine."""
    rows: list[str] = []
    for name in dict.fromkeys([*(name for name in _FIRST if name in known), *known]):
        if name in columns or name in over:
            continue
        groups: dict[tuple[Setting, ...], set[Setting]] = {}
        for settings in trials:
            key = tuple(settings.get(other) for other in (*columns, *rows))
            groups.setdefault(key, set()).add(settings.get(name))
        if any(len(values) > 1 for values in groups.values()):
            rows.append(name)
    return rows or [name for name in ("attacker",) if name in known]


def _refuse_mixed(
    group: Sequence[Settings], known: Sequence[str], names: Sequence[str], over: Sequence[str]
) -> None:
    mixed = [name for name in known if name not in over and _varies(name, group)]
    if mixed:
        values = ", ".join(
            str(value) for value in dict.fromkeys(settings.get(mixed[0]) for settings in group)
        )
        named = ", ".join(f"{name} {group[0].get(name)}" for name in names)
        raise TableError(
            f"the cell of {named} would mix {mixed[0]} {values}; group by it with --rows {mixed[0]}, or "
            f"average over it with --over {mixed[0]}"
        )
    seen = [tuple(settings.get(name) for name in over) for settings in group]
    if len(set(seen)) < len(seen):
        raise TableError(f"two trials have the same settings, {group[0]}")
