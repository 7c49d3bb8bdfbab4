"""A results folder: one run folder per trial, under the trial's name."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from midstream.command.api.result import GameResult
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.storage.run_files import RESULT, DamagedRunError, read_object
from midstream.storage.run_folder import write_json

TRIAL = "trial.json"
"""Holds everything that a trial's result depends on."""

FAILED = "failed.json"
"""Holds the reason why a trial failed. The next sweep plays the trial again."""

_LOCKS = ".locks"


def write_trial(folder: Path, trial: Trial) -> None:
    """Write a trial's document into its run folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TRIAL, trial.document())


def read_trial(folder: Path) -> Trial:
    """Read the trial of a run folder.

    Raises:
        DamagedRunError: its document is not that of the trial that the folder is named after.
    """
    try:
        trial = Trial.of(read_object(folder / TRIAL))
    except ValueError as error:
        raise DamagedRunError(f"{folder / TRIAL} is damaged: {error}") from error
    if trial.name != folder.name:
        raise DamagedRunError(
            f"{folder / TRIAL} describes the trial {trial.name}, not {folder.name}; restore the folder "
            f"from a copy, or delete it and play the sweep again"
        )
    return trial


def outcome_of(trial: Trial, out: Path) -> GameResult | None:
    """Return a trial's result, or None if it is not finished."""
    path = out / trial.name / "result.json"
    return trial.plan(Place(out)).outcome(read_object(path, RESULT)) if path.exists() else None


def failure_of(folder: Path) -> str | None:
    """Return why a trial failed, or None."""
    path = folder / FAILED
    return str(read_object(path, {"reason": (str,)})["reason"]) if path.exists() else None


def write_failure(trial: Trial, out: Path, reason: str) -> None:
    """Record that a trial failed, unless it is finished."""
    folder = out / trial.name
    if outcome_of(trial, out) is None:
        write_trial(folder, trial)
        write_json(folder / FAILED, {"reason": reason})


def clear(folder: Path) -> None:
    """Delete what is left of a trial that was not finished."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def held(out: Path, name: str) -> Iterator[None]:
    """Hold a trial: until the context ends, no other process of this machine plays it.

    The operating system releases the trial if the process is killed.
    """
    (out / _LOCKS).mkdir(parents=True, exist_ok=True)
    with (out / _LOCKS / name).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
