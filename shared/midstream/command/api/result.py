"""The result of one game, as the command prints it and as Python code reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from midstream.command.api.picture import as_html
from midstream.command.runs.detection import detection
from midstream.storage.run_files import read_records
from midstream.storage.run_folder import METRICS
from midstream.tasks.words import headline

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[Any]

_WHOLE = ("step", "epoch")


class Metrics(Mapping[str, Array]):
    """A run's metrics, one array per name and one entry per step.

    `step` and `epoch` are integers, all others float64. A value that a step does not have is NaN: accuracies
    are measured only at evaluations, and so are `test_r2` and the other measures of another task. Numbers
    that a player reported are named `attacker.NAME`,
    `defender.NAME` and `checker.NAME`.

    Args:
        records: one per step, see `midstream.protocol.messages.history.Record`.

    >>> metrics = Metrics([{"step": 1, "loss": 2.3, "test_accuracy": None, "attacker": {"residual": 0.1}}])
    >>> metrics["attacker.residual"], metrics["test_accuracy"]
    (array([0.1]), array([nan]))
    """

    def __init__(self, records: list[dict[str, Any]]) -> None:
        flat = [_flat(record) for record in records]
        names = dict.fromkeys(name for record in flat for name in record)
        self._arrays: dict[str, Array] = {
            name: np.array(
                [np.nan if (value := record.get(name)) is None else value for record in flat],
                dtype=np.int64 if name in _WHOLE else np.float64,
            )
            for name in names
        }

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def evaluated(self) -> dict[str, Array]:
        """Return the learning curve: the metrics of the steps after which the model was evaluated."""
        rows = np.isfinite(self["test_loss"]) if "test_loss" in self else np.zeros(0, dtype=bool)
        return {name: values[rows] for name, values in self.items()}


def _flat(record: Mapping[str, Any]) -> dict[str, object]:
    record = {**record, **(record.get("measures") or {})}
    record.pop("measures", None)
    sides = {side: record.get(side) or {} for side in ("attacker", "defender", "checker")}
    reports = {f"{side}.{name}": value for side, found in sides.items() for name, value in found.items()}
    return {name: value for name, value in record.items() if name not in sides} | reports


@dataclass(frozen=True, kw_only=True)
class GameResult:
    """The result of a finished game. Its fields are the keys of `midstream play --json`.

    If the task is not classification, `midstream play --json` has the `measures` by name, such as `test_r2`
    and `test_rmse`, in place of `test_accuracy`.

    Attributes:
        run: the run folder.
        dataset: the data set.
        attacker: the attacker, with options; None if `play` did not run the game and it is unknown.
        defender: the defender, with options.
        attack_epsilon: radius of the attacker's budget, in pixel units; None if unknown.
        attack_norm: its norm; None if unknown.
        access: `white-box`, or `black-box` if the attacker did not see the model.
        epsilon: radius of the defender's budget, in pixel units.
        norm: its norm.
        pixel_range: `valid` or `unbounded`.
        seed: seed of every random draw.
        steps: steps taken.
        epochs: epochs played.
        test_accuracy: at the final parameters, in [0, 1]; None if the task is not classification.
        measures: the measures of another task at the final parameters by name; None for classification.
        validation_loss: at the final parameters, in nats per example.
        conversion_rate: share of the other classes' test inputs predicted as the target; None without one.
        evasion_rate: share of the target's test inputs predicted as another class; None without one.
        passed_clean: how many batches each side failed at, which were passed on unchanged.
        resumed_anyway: how often a side went on with a memory that did not match the run.
        checker: how well the checker found the attacked examples, see
            `midstream.command.runs.detection.detection`; None without a checker.
        parameters_sha256: digest of the final parameters; equal digests mean equal bits.
        seconds: duration of the game.
    """

    run: str
    dataset: str
    attacker: str | None
    defender: str
    attack_epsilon: float | None
    attack_norm: Literal["l2", "linf"] | None
    access: Literal["white-box", "black-box"]
    epsilon: float
    norm: Literal["l2", "linf"]
    pixel_range: Literal["valid", "unbounded"]
    seed: int
    steps: int
    epochs: int
    test_accuracy: float | None
    measures: Mapping[str, float] | None
    validation_loss: float
    conversion_rate: float | None
    evasion_rate: float | None
    passed_clean: Mapping[str, int]
    resumed_anyway: Mapping[str, int]
    checker: Mapping[str, Any] | None
    parameters_sha256: str
    seconds: float

    @classmethod
    def of(
        cls,
        folder: Path,
        specification: Mapping[str, object],
        result: Mapping[str, object],
        attack: Mapping[str, object],
    ) -> "GameResult":
        """Return the result that a finished run's files describe.

        Args:
            folder: the run folder.
            specification: the content of its `specification.json`.
            result: the content of its `result.json`.
            attack: what is known of the attacker: `attacker`, `attack_epsilon` and `attack_norm`.
        """
        counts: Any = result.get("checker")
        records = [] if counts is None else read_records(folder / METRICS)
        found_out = {"checker": detection(folder, counts, records)}
        known: dict[str, Any] = {**specification, **result, **attack, **found_out, "run": str(folder)}
        found: dict[str, Any] = {field.name: known.get(field.name) for field in fields(cls)}
        return cls(**found)

    @classmethod
    def load(cls, folder: Path | str) -> "GameResult":
        """Return the result of the finished game in a run folder.

        Raises:
            midstream.MidstreamError: the folder holds no finished game, or one of its files is damaged or
                was altered after the game finished.
        """
        from midstream.command.api.loading import load

        return load(Path(folder))

    def as_dict(self) -> dict[str, object]:
        """Return the object that `midstream play --json` prints."""
        found: dict[str, object] = {}
        for name, value in asdict(self).items():
            if name == "test_accuracy" and self.measures is not None:
                found |= self.measures
            elif name != "measures":
                found[name] = value
        return found

    def of_test(self) -> dict[str, float | None]:
        """Return the measures of the test set by name: `test_accuracy`, or those of another task."""
        if self.measures is None:
            return {"test_accuracy": self.test_accuracy}
        return {name: value for name, value in self.measures.items() if name.startswith("test_")}

    @property
    def score(self) -> tuple[str, float]:
        """The measure that the game is judged by, in words, and its value: the test accuracy, the R², …"""
        found = headline(self.of_test())
        assert found is not None
        return found

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run)

    @cached_property
    def metrics(self) -> Metrics:
        """The metrics of every step, as arrays.

        Raises:
            midstream.storage.run_files.DamagedRunError: the run folder's records cannot be read.
        """
        return Metrics(read_records(self.folder / METRICS))

    def model(self) -> "nn.Module":
        """Return the trained network on the CPU, in evaluation mode, from the run's last checkpoint.

        The data set is read again, since it determines the network's input and output.

        Raises:
            midstream.MidstreamError: the checkpoint is missing, damaged or of another run, or the data set
                is not on this machine.
        """
        from midstream.command.api.loading import trained_model

        return trained_model(self.folder)

    def _repr_html_(self) -> str:
        """Return a table and the learning curve, for a notebook."""
        return as_html(self.as_dict(), self.metrics.evaluated())
