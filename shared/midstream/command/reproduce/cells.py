"""The cells of a table or figure, each with the trials behind it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from midstream.command.reproduce.asked import Asked
from midstream.command.reproduce.document import DataSet, Panel, Reproduction, Scale, Setting, Stated
from midstream.command.reproduce.scales import resolved, scales_of
from midstream.errors import MidstreamError
from midstream.plugins.naming import unknown

if TYPE_CHECKING:
    from midstream.command.sweep.trial import Trial


class CellError(MidstreamError, ValueError):
    """There is no such cell, or it cannot be played; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        panel: its panel.
        row: name of its row.
        column: name of its column.
        stated: the paper's figure for it, if there is one.
        asked: its games, one per seed.
    """

    panel: Panel
    row: str
    column: str
    stated: Stated | None
    asked: tuple[Asked, ...]

    @property
    def trials(self) -> "tuple[Trial, ...]":
        """The trials of its games."""
        return tuple(one.trial for one in self.asked)

    @property
    def measure(self) -> str:
        """What is measured."""
        return self.panel.rows[self.row].measure or self.panel.measure

    @property
    def at(self) -> Setting | None:
        """The value of the setting that the panel's rows vary, as it was played; None if it is a player."""
        return self.asked[0].settings.get(self.panel.over)

    def __str__(self) -> str:
        """Return the cell's name, as `--cell` takes it."""
        return f"{self.row},{self.column}"


def cells_of(
    reproduction: Reproduction,
    scale: Scale,
    dataset: DataSet,
    *,
    seeds: int,
    photos: Path | None = None,
    chosen: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells of a table or figure.

    Args:
        reproduction: the table or figure.
        scale: how large the games are.
        dataset: the data set.
        seeds: number of games for each cell.
        photos: folder of the photos, one subfolder per class.
        chosen: the cells to return, as `ROW,COLUMN` or `ROW`; all if empty.

    Raises:
        CellError: the table does not have this data set or a chosen cell, the data set not this scale, or the
            photos no folder.
    """
    if dataset not in reproduction.datasets:
        raise CellError(
            f"{reproduction.source} is not for {dataset}, but for {', '.join(reproduction.datasets)}"
        )
    if scale not in scales_of(dataset):
        raise CellError(
            f"the paper does not play {dataset}; choose --scale {' or '.join(scales_of(dataset))}"
        )
    return [
        _cell(panel, row, column, scale, dataset, seeds, photos)
        for panel, row, column in _chosen(reproduction, chosen)
    ]


def _chosen(reproduction: Reproduction, chosen: Sequence[str]) -> Iterator[tuple[Panel, str, str]]:
    places = [
        (panel, row, column)
        for panel in reproduction.panels
        for row in panel.rows
        for column in panel.columns_of(row)
    ]
    known = {text for _, row, column in places for text in (row, f"{row},{column}")}
    for text in chosen:
        if text not in known:
            raise CellError(unknown(f"cell of {reproduction.source}", text, sorted(known)))
    for panel, row, column in places:
        if not chosen or {row, f"{row},{column}"} & set(chosen):
            yield panel, row, column


def _cell(
    panel: Panel, row: str, column: str, scale: Scale, dataset: DataSet, seeds: int, photos: Path | None
) -> Cell:
    if dataset == "photos" and photos is None:
        raise CellError("the photos are not part of midstream; name their folder with --photos")
    of_row, of_column = panel.rows[row], panel.columns[column]
    settings = of_column.settings | of_row.settings
    settings |= of_column.lighter.get(scale, {}) | of_row.lighter.get(scale, {})
    played: dict[str, Setting] = {"dataset": f"folder:{photos}" if dataset == "photos" else dataset}
    played |= resolved(settings, scale, dataset)
    asked = tuple(Asked(played | {"seed": seed}) for seed in range(seeds))
    return Cell(panel, row, column, panel.stated(dataset, row, column), asked)
