"""Reads results folders, and merges those of several machines."""

from collections.abc import Sequence
from pathlib import Path

from midstream.command.results.played_trial import PlayedTrial
from midstream.command.results.results import Results
from midstream.command.results.results_folder import TRIAL, failure_of, outcome_of, read_trial
from midstream.command.runs.unaltered import refuse_altered
from midstream.command.sweep.trial import Setting, Trial
from midstream.errors import MidstreamError
from midstream.storage.run_files import read_object


class MergeError(MidstreamError, ValueError):
    """Results folders disagree on a trial; the message names both run folders."""


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
