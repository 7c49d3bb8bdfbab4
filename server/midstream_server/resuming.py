"""Runs that an earlier server left behind, taken up where they were."""

import json
from pathlib import Path

import torch

from midstream.environment import describe, differences
from midstream.orders import Order
from midstream.runfolder import RunFolder, write_whole
from midstream.specification import Specification
from midstream.storage import DamagedDatabaseError, set_aside
from midstream_server.checkpoint import NEWEST, OLDER, Checkpoint, DamagedCheckpointError, read_checkpoint
from midstream_server.durable import DurableRun, Say
from midstream_server.journal import Journal
from midstream_server.record import RecordedRun
from midstream_server.training import TrainingRun

JOURNAL = "journal.sqlite"


class ResumeError(RuntimeError):
    """A run cannot go on; the message says why, and what to do."""


def left_behind(out: Path) -> list[str]:
    """Return the names of the runs in a folder that a server was not done with, `play`'s left out."""
    return sorted(
        path.parent.name
        for path in out.glob("*/open")
        if (path.parent / "specification.json").exists() and not (path.parent / "scenario.yaml").exists()
    )


def specification_of(folder: Path) -> Specification:
    """Return what is trained in a run folder."""
    return Specification.model_validate_json((folder / "specification.json").read_text(encoding="utf-8"))


def check_environment(folder: Path, device: torch.device, *, anyway: bool) -> str:
    """Return a run's identity, having compared what its bits depend on with what is here.

    Args:
        folder: the run's.
        device: where this server computes.
        anyway: whether the run goes on where they differ; that is recorded with it.

    Raises:
        ResumeError: they differ.
    """
    path = folder / "environment.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    found = differences(recorded, describe(device))
    if found and not anyway:
        raise ResumeError(
            f"run {folder.name!r} was begun with {'; '.join(found)}: its parameters would come out otherwise "
            f"than those of an undisturbed run. Go on as it was begun, or add --resume-anyway, which is "
            f"recorded in {path}"
        )
    if found:
        recorded.setdefault("resumed_with", []).append(found)
        write_whole(path, (json.dumps(recorded, indent=2, ensure_ascii=False) + "\n").encode())
    identity: str = recorded["run"]
    return identity


def check_order(folder: Path, order: Order, *, anyway: bool) -> None:
    """Refuse a run whose derivatives would be taken in another order than it was begun with.

    Args:
        folder: the run's.
        order: the one found here.
        anyway: whether the run goes on in this one; that is recorded with it.

    Raises:
        ResumeError: they differ.
    """
    path = folder / "environment.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    if recorded.get("derivatives", order) == order:
        return
    found = f"derivatives {recorded['derivatives']}, here {order}"
    if not anyway:
        raise ResumeError(
            f"run {folder.name!r} was begun with {found}: its parameters would come out otherwise than those "
            f"of an undisturbed run. Go on as it was begun, or add --resume-anyway, recorded in {path}"
        )
    recorded.setdefault("resumed_with", []).append([found])
    write_whole(path, (json.dumps(recorded, indent=2, ensure_ascii=False) + "\n").encode())


def resume(
    run: TrainingRun, folder: RunFolder, identity: str, *, checkpoint_every: int, say: Say
) -> DurableRun:
    """Return a run as its newest whole checkpoint has it; what its journal holds beyond is to be replayed.

    Args:
        run: the training run of the folder's specification, at step 0.
        folder: its files.
        identity: from `check_environment`.
        checkpoint_every: steps between checkpoints.
        say: told of every file that is damaged.

    Raises:
        ResumeError: the journal does not reach back to the newest whole checkpoint.
        midstream.storage.StorageError: the journal cannot be opened.
    """
    path = folder.path / JOURNAL
    try:
        journal = Journal(path)
    except DamagedDatabaseError as error:
        say(f"{error}; it is kept as {set_aside(path).name}, and its batches will be asked for again")
        journal = Journal(path)
    checkpoint = _newest_whole(folder.path, say)
    step = 0 if checkpoint is None else checkpoint.step
    try:
        if journal.trimmed() > step:
            raise ResumeError(
                f"run {folder.path.name!r} cannot go on: no whole checkpoint is left that is newer than step "
                f"{step}, and its journal begins at step {journal.trimmed()}"
            )
        recorded = RecordedRun(run, folder, identity=identity)
        recorded.restore(checkpoint)
    except (ResumeError, ValueError) as error:
        journal.close()
        raise ResumeError(str(error)) from error
    return DurableRun(recorded, journal, checkpoint_every=checkpoint_every)


def _newest_whole(folder: Path, say: Say) -> Checkpoint | None:
    for name in (NEWEST, OLDER):
        try:
            if (found := read_checkpoint(folder / name)) is not None:
                return found
        except DamagedCheckpointError as error:
            damaged = folder / f"{name}.damaged"
            (folder / name).replace(damaged)
            say(f"{error}; it is kept as {damaged.name}, and what was before it is used")
    return None
