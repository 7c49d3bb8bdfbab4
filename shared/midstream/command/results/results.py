"""The results of a sweep: its finished trials, its tables and its plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midstream.command.api.result import GameResult
from midstream.command.results import paired
from midstream.command.results.results_folder import TRIAL, failure_of, outcome_of, read_trial
from midstream.command.results.table import SEED, Table, TableError, tabulate
from midstream.command.runs.unaltered import refuse_altered
from midstream.command.sweep.trial import Setting, Trial
from midstream.errors import MidstreamError
from midstream.plugins.naming import unknown
from midstream.storage.run_files import read_object, read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from midstream.command.results.plots import Kind

ACCURACY = "test_accuracy"


class MergeError(MidstreamError, ValueError):
    """Results folders disagree on a trial; the message names both run folders."""


@dataclass(frozen=True)
class PlayedTrial:
    """A finished trial.

    Attributes:
        trial: its settings.
        folder: its run folder.
        result: its result.
    """

    trial: Trial
    folder: Path
    result: GameResult

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """What `midstream play --json` prints."""
        return self.result.as_dict()

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The numbers of the outcome by name, and those of its checker as `checker.NAME`."""
        checker = self.outcome.get("checker") or {}
        named = {**self.outcome, **{f"checker.{name}": found for name, found in checker.items()}}
        return {name: float(found) for name, found in named.items() if _is_number(found)}

    @property
    def settings(self) -> Mapping[str, Setting]:
        """All settings by name."""
        return self.trial.settings

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The run's metrics, one record per step."""
        return read_records(self.folder / "metrics.jsonl")

    def curve(self, value: str = ACCURACY) -> list[tuple[int, float]]:
        """Return a value over the steps after which it was measured."""
        return [
            (record["step"], float(record[value])) for record in self.records if record.get(value) is not None
        ]


@dataclass(frozen=True)
class Results:
    """The trials of a sweep.

    Attributes:
        trials: the finished trials.
        failed: the reason of each trial that failed, by the trial in words.
        unfinished: the trials that are still to be played, in words.
    """

    trials: tuple[PlayedTrial, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()

    def table(
        self,
        value: str = ACCURACY,
        *,
        rows: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        over: Sequence[str] = SEED,
    ) -> Table:
        """Return a table of one value of the outcome: mean, sample standard deviation and n of each group.

        Args:
            value: the value, such as `test_accuracy` or `validation_loss`.
            rows: settings that name a row; by default those that vary, other than `columns` and `over`.
            columns: settings that name a column; `defender` by default, if it varies.
            over: settings that each cell averages over.

        Raises:
            TableError: a name does not exist, or a cell would mix trials that differ in another setting.
        """
        points = self.points(value)
        return tabulate(points, value=value, rows=rows, columns=columns, over=over)

    def points(self, value: str = ACCURACY) -> list[tuple[Mapping[str, Setting], float]]:
        """Return the settings and one value of each trial that has it.

        Raises:
            TableError: no outcome has a number of this name.
        """
        known = sorted({name for one in self.trials for name in one.numbers})
        if self.trials and value not in known:
            raise TableError(unknown("number in the outcomes", value, known))
        return [(one.settings, one.numbers[value]) for one in self.trials if value in one.numbers]

    def paired(
        self,
        setting: str,
        first: Setting,
        second: Setting,
        *,
        value: str = ACCURACY,
        confidence: float = 0.95,
    ) -> list[tuple[dict[str, Setting], paired.PairedDifference]]:
        """Return the differences between two values of a setting over the same seeds.

        Args:
            setting: the setting, such as `attacker`.
            first: its first value.
            second: its second value, which is subtracted.
            value: the value that is compared.
            confidence: probability with which such an interval covers the true mean.

        Returns:
            For each combination of the other settings that vary: these settings, and the difference.

        Raises:
            TableError: there are no such pairs.
        """
        return paired.differences(
            self.points(value), setting=setting, first=first, second=second, confidence=confidence
        )

    def plot(
        self,
        kind: "Kind" = "curves",
        *,
        value: str = ACCURACY,
        against: str = "checker.auc",
        rows: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        over: Sequence[str] = SEED,
    ) -> "Figure":
        """Return a plot: `curves` over the steps with bands, or `bars` of the final value with error bars.

        `frontier` plots the value against another one, such as the accuracy against the checker's AUC.
        Bands and error bars are one sample standard deviation to each side. See `table` for the arguments.

        Raises:
            TableError: as for `table`.
        """
        from midstream.command.results import plots  # imports matplotlib

        table = self.table(value, rows=rows, columns=columns, over=over)
        if kind == "frontier":
            return plots.frontier(self.table(against, rows=rows, columns=columns, over=over), table)
        if kind == "bars":
            return plots.bars(table)
        grouped = {
            plots.label(table, cell.settings): [
                one.curve(value)
                for one in self.trials
                if all(one.settings.get(name) == found for name, found in cell.settings.items())
            ]
            for cell in table.cells
        }
        return plots.curves(grouped, value=value)

    def document(self, table: Table | None) -> dict[str, object]:
        """Return the object that `midstream sweep --json` prints."""
        return {
            "trials": [one.outcome for one in self.trials],
            "table": None if table is None else table.document(),
            "failed": dict(self.failed),
            "unfinished": list(self.unfinished),
        }

    def _repr_markdown_(self) -> str:
        return self.table().markdown()


def read_results(*folders: Path | str) -> Results:
    """Return the results of one or several results folders, for example of several machines.

    Raises:
        MergeError: two folders hold different results of one trial.
        FileNotFoundError: a folder holds no trials.
        ValueError: a run folder was altered after the run finished.
        midstream.storage.run_files.DamagedRunError: a file cannot be read.
    """
    outs = [Path(folder) for folder in folders]
    trials: dict[str, Trial] = {}
    for out in outs:
        found = sorted(path.parent for path in out.glob(f"*/{TRIAL}"))
        if not found:
            raise FileNotFoundError(f"{out} holds no trials; give the results folder of a sweep")
        trials |= {folder.name: read_trial(folder) for folder in found}
    return gathered(sorted(trials.values(), key=_order), outs)


def gathered(trials: Sequence[Trial], folders: Sequence[Path]) -> Results:
    """Return what some results folders hold of these trials; raises as `read_results` does."""
    played: list[PlayedTrial] = []
    failed: dict[str, str] = {}
    unfinished: list[str] = []
    for trial in trials:
        found = [one for out in folders if (one := _read(trial, out)) is not None]
        reasons = [reason for out in folders if (reason := failure_of(out / trial.name)) is not None]
        if found:
            played.append(_same(found))
        elif reasons:
            failed[str(trial)] = reasons[0]
        else:
            unfinished.append(str(trial))
    return Results(tuple(played), failed, tuple(unfinished))


def _read(trial: Trial, out: Path) -> PlayedTrial | None:
    folder = out / trial.name
    result = outcome_of(trial, out)
    if result is None:
        return None
    refuse_altered(folder, read_object(folder / "result.json"))
    return PlayedTrial(trial, folder, result)


def _same(found: Sequence[PlayedTrial]) -> PlayedTrial:
    first = found[0]
    for other in found[1:]:
        if other.result.parameters_sha256 != first.result.parameters_sha256:
            raise MergeError(
                f"{first.folder} and {other.folder} are the same trial with different parameters. Devices, "
                f"CPUs and thread counts round differently; move one of the two folders away"
            )
    return first


def _order(trial: Trial) -> list[tuple[str, int, float, str]]:
    """Return the key that sorts trials by their settings, seeds last, and `none` before others."""
    names = sorted(trial.settings, key=lambda name: (name == "seed", name))
    return [(name, *_place(trial.settings[name])) for name in names]


def _place(value: Setting) -> tuple[int, float, str]:
    if value in (None, "none"):
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
