"""Resuming the unfinished runs of an earlier server."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from midstream.players.reporting import Say
from midstream.run.process.environment import differences
from midstream.storage.run_folder import OPEN, RunFolder, write_json
from midstream.storage.sqlite import set_aside
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.checkpoint import NEWEST, OLDER, Checkpoint
from midstream_server.runs.recovery.durable import DurableRun
from midstream_server.runs.recovery.journal import Journal
from midstream_server.runs.recovery.left import JOURNAL, Left
from midstream_server.runs.recovery.left import ResumeError as ResumeError
from midstream_server.runs.recovery.provenance import (
    ENVIRONMENT,
    SPECIFICATION,
    Provenance,
    Standing,
    environment_of,
)
from midstream_server.runs.recovery.unaltered import files_gone
from midstream_server.runs.training import TrainingRun


@dataclass(frozen=True)
class Recovered:
    """A run as recovered from its files, after they were checked against each other.

    Attributes:
        provenance: what the run was started with.
        journal: its batches; open, and new if the old one was unusable.
        checkpoint: the newest usable checkpoint; None if the run restarts from step 0.
    """

    provenance: Provenance
    journal: Journal
    checkpoint: Checkpoint | None


def is_left(folder: Path) -> bool:
    """Return whether a folder holds an unfinished run, even if one of its files is missing."""
    begun = (folder / SPECIFICATION).exists()
    return (folder / OPEN).exists() or (begun and (folder / JOURNAL).exists())


def left_behind(out: Path) -> list[str]:
    """Return the names of the unfinished runs in a folder, except those of `midstream play`."""
    return sorted(
        path.name for path in out.glob("*") if is_left(path) and not (path / "scenario.yaml").exists()
    )


def recover(folder: Path, *, say: Say) -> Recovered:
    """Recover a run from its files; repair what can be repaired without changing the run's result.

    A damaged journal or checkpoint is renamed, and an earlier one is used instead. A missing file whose
    content other files repeat is written again.

    Args:
        folder: the run's folder.
        say: called with a sentence for each damaged file.

    Raises:
        ResumeError: the run cannot be resumed with the same result; the message names the file.
        midstream.storage.sqlite.StorageError: the journal cannot be opened, or another server has it open.
    """
    if not folder.is_dir():
        raise ResumeError(f"there is no run folder {folder}")
    left = Left(folder)
    with ExitStack() as undo:
        undo.callback(left.close)
        provenance = left.provenance()
        if (name := provenance.specification["name"]) != folder.name:
            raise ResumeError(f"{folder} holds run {name!r}: rename the folder to {name!r}")
        gone = files_gone(folder, provenance)
        checkpoint = left.checkpoint()
        _refuse_a_gap(left, checkpoint)
        for name in gone:
            write_json(folder / name, provenance.files()[name])
            say(f"{folder / name} was missing; it was written again as the run was started")
        set_checkpoints_aside(left, say)
        journal = left.journal
        if journal is None:
            left.close()
            journal = _new_journal(left, provenance, say)
            undo.callback(journal.close)
        _record(left, journal, provenance, say)
        undo.pop_all()
    return Recovered(provenance, journal, checkpoint)


def resume(
    run: TrainingRun, folder: RunFolder, found: Recovered, *, checkpoint_every: int, anyway: bool
) -> DurableRun:
    """Return a run restored from its checkpoint; the journal's later batches are still to be replayed.

    Args:
        run: the recovered specification's training run, at step 0.
        folder: the run's folder.
        found: the run's recovered files, from `recover`.
        checkpoint_every: maximum number of steps between checkpoints.
        anyway: whether to resume although versions, device, thread count, data set or order of derivatives
            differ; the differences are recorded.

    Raises:
        ResumeError: they differ, and `anyway` is false.
    """
    provenance = environment_compared(folder.path, found.provenance, run, anyway=anyway)
    if provenance != found.provenance:
        found.journal.record(provenance)
        folder.write_json(ENVIRONMENT, provenance.files()[ENVIRONMENT])
        folder.write_json(OPEN, Standing(provenance, found.journal.state, found.journal.reason).written())
    recorded = RecordedRun(run, folder, provenance=provenance)
    recorded.restore(found.checkpoint)
    return DurableRun(recorded, found.journal, checkpoint_every=checkpoint_every)


def _refuse_a_gap(left: Left, checkpoint: Checkpoint | None) -> None:
    """Raise ResumeError if neither a checkpoint nor the journal covers some of the steps."""
    step = 0 if checkpoint is None else checkpoint.step
    if left.journal is not None and (begins := left.journal.trimmed()) > step:
        reason = f"its journal begins at step {begins}"
    elif left.journal is None and checkpoint is None and any(_checkpoint_files(left.folder)):
        reason = "its journal is lost as well"
    else:
        return
    why = left.why(
        f"no intact checkpoint newer than step {step} is left ({left.folder / NEWEST}), and {reason}"
    )
    raise ResumeError(f"{why}. Restore the files, or start a new run under another name")


def _checkpoint_files(folder: Path) -> Iterator[Path]:
    """Yield the checkpoint files, including those set aside earlier as damaged."""
    for name in (NEWEST, OLDER):
        yield from folder.glob(f"{name}*")


def environment_compared(
    folder: Path, provenance: Provenance, run: TrainingRun, *, anyway: bool
) -> Provenance:
    """Return the provenance, with the differences that `anyway` accepts.

    Raises:
        ResumeError: versions, device, thread count, data set or order of derivatives differ, and `anyway` is
            false.
    """
    run.use_chunk_size(provenance.environment.get("chunk_size"))  # chosen by the device of that time
    found = differences(provenance.environment, environment_of(run))
    if not found:
        return provenance
    if not anyway:
        raise ResumeError(
            f"run {folder.name!r} was started with {'; '.join(found)}: its parameters would differ from "
            f"those of an uninterrupted run. Restore that environment, or add --resume-anyway, which is "
            f"recorded in {folder / ENVIRONMENT}"
        )
    return provenance.passed(found)


def set_checkpoints_aside(left: Left, say: Say) -> None:
    """Rename the damaged checkpoints, so that the next one does not replace an intact one."""
    for name in (NEWEST, OLDER):
        path = left.folder / name
        if name in left.faults and path.exists():
            path.replace(path.with_name(f"{name}.damaged"))
            say(f"{left.faults[name]}; {name} was renamed to {name}.damaged; the run resumes from before it")


def _new_journal(left: Left, provenance: Provenance, say: Say) -> Journal:
    path = left.folder / JOURNAL
    renamed = f"it was renamed to {set_aside(path).name}, and " if path.exists() else ""
    say(f"{left.faults[JOURNAL]}; {renamed}the server will ask for its batches again")
    set_aside(path)  # write-ahead files of a journal that is missing
    journal = Journal(path, provenance)
    if left.standing is not None and OPEN not in left.faults:
        journal.remember(left.standing.state, left.standing.reason)
    return journal


def _record(left: Left, journal: Journal, provenance: Provenance, say: Say) -> None:
    """Write the provenance to every file that lacks it."""
    if journal.provenance != provenance:
        journal.record(provenance)
        write_json(left.folder / ENVIRONMENT, provenance.files()[ENVIRONMENT])
    standing = Standing(provenance, journal.state, journal.reason)
    if OPEN in left.faults:
        say(f"{left.faults[OPEN]}; it was written again")
    if OPEN in left.faults or standing != left.standing:
        write_json(left.folder / OPEN, standing.written())
