"""What a table or figure of the paper shows: rows, columns, the players of each cell, the paper's figures.

The files in `tables/` are read into these classes. A row or a column names settings of `midstream play`; a
cell has those of its column and its row.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Scale = Literal["quick", "cpu", "paper"]
DataSet = Literal["digits", "mnist", "cifar10", "cifar100", "photos"]
Kind = Literal["table", "curves", "line", "grid"]
Setting = str | int | float

_STATED = re.compile(r"(?P<mean>\d+(\.\d+)?)( ± (?P<deviation>\d+(\.\d+)?))?")
_FOLDER = files("midstream.command.reproduce") / "tables"


class Stated(NamedTuple):
    """A figure that the paper states, in per cent.

    Attributes:
        mean: the mean over the paper's runs.
        deviation: their standard deviation; None if the paper gives none.
    """

    mean: float
    deviation: float | None = None

    def __str__(self) -> str:
        """Return the figure as the paper prints it.

        >>> str(Stated(9.5, 2.9))
        '9.5 ± 2.9'
        """
        return f"{self.mean:.1f}" + ("" if self.deviation is None else f" ± {self.deviation:.1f}")


def stated(text: object) -> Stated:
    """Read a figure such as `9.5 ± 2.9`.

    Raises:
        ValueError: it is not such a figure.

    >>> stated("9.5 ± 2.9"), stated(27.9)
    (Stated(mean=9.5, deviation=2.9), Stated(mean=27.9, deviation=None))
    """
    found = _STATED.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is not a figure such as 9.5 ± 2.9")
    deviation = found["deviation"]
    return Stated(float(found["mean"]), None if deviation is None else float(deviation))


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )


class Line(_Part):
    """A row or a column of a panel.

    Attributes:
        title: what the paper calls it.
        measure: what is measured; None for the panel's.
        reading_of: the row whose figures of the paper this row is compared with: this row is another reading
            of the same method.
        only: the columns that the row has; empty for all.
        lighter: settings that replace others at a smaller scale.
        settings: settings of `midstream play`, by flag.
    """

    title: str = ""
    measure: str | None = None
    reading_of: str | None = None
    only: tuple[str, ...] = ()
    lighter: dict[Scale, dict[str, Setting]] = {}
    settings: dict[str, Setting] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, values: dict[str, object]) -> dict[str, object]:
        own = {"title", "measure", "reading-of", "only", "lighter"}
        settings = {name: value for name, value in values.items() if name not in own}
        return {name: value for name, value in values.items() if name in own} | {"settings": settings}


class Panel(_Part):
    """One table, or one part of a figure.

    Attributes:
        name: its letter in the figure; empty for a table.
        kind: `table`; `curves`: learning curves, one per row; `line`: one line per column over the rows;
            `grid`: a table whose rows and columns are levels, and what they cost.
        measure: what is measured.
        over: what the rows are.
        columns: the columns by name.
        rows: the rows by name.
        paper: the paper's figures by data set and row, in the order of the columns that the row has.
    """

    name: str = ""
    kind: Kind
    measure: str
    over: str
    columns: dict[str, Line]
    rows: dict[str, Line]
    paper: dict[DataSet, dict[str, list[Annotated[Stated, BeforeValidator(stated)]]]] = {}

    @model_validator(mode="after")
    def _paper_fits(self) -> "Panel":
        for dataset, rows in self.paper.items():
            for row, figures in rows.items():
                if row not in self.rows or len(figures) != len(self.columns_of(row)):
                    raise ValueError(f"the paper's figures for {row} on {dataset} fit no row of the panel")
        return self

    def columns_of(self, row: str) -> list[str]:
        """Return the names of the columns that a row has."""
        only = self.rows[row].only
        return [column for column in self.columns if not only or column in only]

    def stated(self, dataset: DataSet, row: str, column: str) -> Stated | None:
        """Return the paper's figure for a cell, or None if its text has none."""
        found = self.paper.get(dataset, {}).get(self.rows[row].reading_of or row)
        return None if found is None else found[self.columns_of(row).index(column)]


class Reproduction(_Part):
    """A table or a figure of the paper.

    Attributes:
        title: what it shows.
        source: its number in the paper.
        datasets: the data sets that it can be played on, the paper's main one first.
        runs: number of runs behind the paper's figures; None if the paper does not say.
        panels: its parts.
        says: what the paper's text says about it, or what is open.
    """

    title: str
    source: str
    datasets: tuple[DataSet, ...]
    runs: int | None = None
    panels: tuple[Panel, ...] = Field(min_length=1)
    says: tuple[str, ...] = ()


@cache
def reproduction(name: str) -> Reproduction:
    """Return a table or figure by its name, such as `table-2`."""
    content = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return Reproduction.model_validate(yaml.safe_load(content))
