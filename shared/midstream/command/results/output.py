"""What `midstream sweep` and `midstream results` print and write."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from midstream.command.results.environments import differing
from midstream.command.results.paired import PairedDifference
from midstream.command.results.results import Results
from midstream.command.results.table import Table, TableError
from midstream.command.results.table_files import SUFFIXES, write_table
from midstream.command.results.table_text import aligned
from midstream.command.sweep.trial import Setting
from midstream.errors import MidstreamError
from midstream.storage.run_files import read_object


class SweepError(MidstreamError, RuntimeError):
    """A sweep has trials that failed or are still to be played; the message says how many."""


@dataclass(frozen=True)
class Output:
    """What is printed and written; one attribute per option of `output_options`."""

    value: str | None
    rows: Sequence[str]
    columns: Sequence[str]
    over: Sequence[str]
    tables: Sequence[Path]
    plot: Path | None
    bars: Path | None
    frontier: Path | None
    against: str
    paired: tuple[str, str, str] | None
    confidence: float
    as_json: bool

    def __post_init__(self) -> None:
        for path in self.tables:
            if path.suffix not in SUFFIXES:
                raise click.UsageError(f"--table: {path} ends with none of {', '.join(SUFFIXES)}")

    def give(self, results: Results) -> None:
        """Print the table and the differences, and write the files.

        Raises:
            SweepError: trials failed or are still to be played; everything else is given before.
        """
        table = self._table(results) if results.trials else None
        compared = self._differences(results) if self.paired and results.trials else []
        if self.as_json:
            click.echo(json.dumps(results.document(table) | self._as_json(compared)))
        elif table is not None:
            click.echo(table.markdown())
            if self.paired:
                click.echo(f"\n{self._as_text(compared, table.value)}")
        if table is not None:
            self._write(results, table)
        if found := differing(_environments(results)):
            click.echo(f"the trials were not played with the same {'; '.join(found)}", err=True)
        _complain(results)

    def _table(self, results: Results) -> Table:
        grouping = self._grouping()
        try:
            return results.table(self.value, **grouping)
        except TableError as error:
            raise click.UsageError(str(error)) from error

    def _grouping(self) -> dict[str, Any]:
        return {"rows": self.rows or None, "columns": self.columns or None, "over": self.over}

    def _differences(self, results: Results) -> list[tuple[dict[str, Setting], PairedDifference]]:
        assert self.paired is not None
        setting, first, second = self.paired
        try:
            return results.paired(
                setting.replace("-", "_"), first, second, value=self.value, confidence=self.confidence
            )
        except TableError as error:
            raise click.UsageError(str(error)) from error

    def _as_json(self, compared: Sequence[tuple[dict[str, Setting], PairedDifference]]) -> dict[str, object]:
        return {"paired": [group | asdict(found) for group, found in compared]} if self.paired else {}

    def _as_text(self, compared: Sequence[tuple[dict[str, Setting], PairedDifference]], value: str) -> str:
        assert self.paired is not None
        _, first, second = self.paired
        names = list(dict.fromkeys(name for group, _ in compared for name in group))
        head = [*(name.replace("_", " ") for name in names), f"{first} - {second}", "pairs"]
        lines = [
            [*(str(group.get(name, "")) for name in names), str(found), str(found.n)]
            for group, found in compared
        ]
        caption = f"Mean paired difference in {value.replace('_', ' ')}, with its {100 * self.confidence:g}%"
        return f"{aligned(head, lines)}\n\n{caption} confidence interval."

    def _write(self, results: Results, table: Table) -> None:
        for path in self.tables:
            write_table(path, table)
            click.echo(f"table: {path}", err=True)
        if self.plot is not None:
            results.plot("curves", value=self.value, **self._grouping()).savefig(self.plot, dpi=150)
            click.echo(f"plot: {self.plot}", err=True)
        if self.bars is not None:
            results.plot("bars", value=self.value, **self._grouping()).savefig(self.bars, dpi=150)
            click.echo(f"plot: {self.bars}", err=True)
        if self.frontier is not None:
            try:
                figure = results.plot("frontier", value=self.value, against=self.against, **self._grouping())
            except TableError as error:
                raise click.UsageError(str(error)) from error
            figure.savefig(self.frontier, dpi=150)
            click.echo(f"plot: {self.frontier}", err=True)


def _environments(results: Results) -> Iterator[tuple[str, dict[str, object]]]:
    for one in results.trials:
        yield one.trial.specification.dataset, read_object(one.folder / "environment.json")


def _complain(results: Results) -> None:
    whole = len(results.trials) + len(results.failed) + len(results.unfinished)
    for name, reason in results.failed.items():
        click.echo(f"failed: {name}: {reason}", err=True)
    parts = [f"{len(results.failed)} of {whole} trials failed"] * bool(results.failed)
    parts += [f"{len(results.unfinished)} of {whole} trials are not finished"] * bool(results.unfinished)
    if parts:
        raise SweepError(f"{' and '.join(parts)}; the same 'midstream sweep' plays them")
