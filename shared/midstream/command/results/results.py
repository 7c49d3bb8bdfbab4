"""The results of a sweep: its tables and its plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midstream.command.results import paired
from midstream.command.results.played_trial import ACCURACY, PlayedTrial
from midstream.command.results.table import SEED, Table, TableError, tabulate
from midstream.command.sweep.trial import Setting
from midstream.plugins.naming import unknown
from midstream.tasks.words import HEADLINE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from midstream.command.results.plots import Kind


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
        value: str | None = None,
        *,
        rows: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        over: Sequence[str] = SEED,
    ) -> Table:
        """Return a table of one value of the outcome: mean, sample standard deviation and n of each group.

        Args:
            value: the value, such as `test_accuracy` or `validation_loss`; None for `judged`.
            rows: settings that name a row; by default those that vary, other than `columns` and `over`.
            columns: settings that name a column; `defender` by default, if it varies.
            over: settings that each cell averages over.

        Raises:
            TableError: a name does not exist, or a cell would mix trials that differ in another setting.
        """
        value = value or self.judged
        return tabulate(self.points(value), value=value, rows=rows, columns=columns, over=over)

    @property
    def judged(self) -> str:
        """The value that the trials are judged by: `test_accuracy`, or `test_r2` if all are regressions."""
        known = {name for one in self.trials for name in one.numbers}
        return next((f"test_{name}" for name in HEADLINE.values() if f"test_{name}" in known), ACCURACY)

    def points(self, value: str | None = None) -> list[tuple[Mapping[str, Setting], float]]:
        """Return the settings and one value of each trial that has it; None stands for `judged`.

        Raises:
            TableError: no outcome has a number of this name.
        """
        value = value or self.judged
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
        value: str | None = None,
        confidence: float = 0.95,
    ) -> list[tuple[dict[str, Setting], paired.PairedDifference]]:
        """Return the differences between two values of a setting over the same seeds.

        Args:
            setting: the setting, such as `attacker`.
            first: its first value.
            second: its second value, which is subtracted.
            value: the value that is compared; None for `judged`.
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
        value: str | None = None,
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

        value = value or self.judged
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
