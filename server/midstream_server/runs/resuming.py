"""Runs that an earlier server left behind, taken up where they were."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from midstream.run.environment import differences
from midstream.run.reporting import Say
from midstream.storage.run_folder import OPEN, RunFolder, write_json
from midstream.storage.sqlite import set_aside
from midstream_server.runs.checkpoint import NEWEST, OLDER, Checkpoint
from midstream_server.runs.durable import DurableRun
from midstream_server.runs.journal import Journal
from midstream_server.runs.left import JOURNAL, Left
from midstream_server.runs.left import ResumeError as ResumeError
from midstream_server.runs.provenance import ENVIRONMENT, SPECIFICATION, Provenance, Standing, environment_of
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.training import TrainingRun
from midstream_server.runs.unaltered import files_gone


@dataclass(frozen=True)
class Recovered:
    """A run as its files tell it, none of which contradicts another.

    Attributes:
        provenance: what it was begun with.
        journal: its batches; open, and new where the one that was there could not be used.
        checkpoint: the newest that can be used; None where the run goes on from step 0.
    """

    provenance: Provenance
    journal: Journal
    checkpoint: Checkpoint | None


def is_left(folder: Path) -> bool:
    """Return whether a folder holds a run that a server was not done with, though a file of it be gone."""
    begun = (folder / SPECIFICATION).exists()
    return (folder / OPEN).exists() or (begun and (folder / JOURNAL).exists())


def left_behind(out: Path) -> list[str]:
    """Return the names of the runs in a folder that a server was not done with, `play`'s left out."""
    return sorted(
        path.name for path in out.glob("*") if is_left(path) and not (path / "scenario.yaml").exists()
    )


def recover(folder: Path, *, say: Say) -> Recovered:
    """Return what is left of a run; mend what can be mended, and refuse what would change its end.

    What is damaged of journal and checkpoints is kept under another name, and what was before it is used.
    A file that only repeats what others say is written again where it is gone.

    Args:
        folder: the run's.
        say: told of every file that is damaged.

    Raises:
        ResumeError: the run cannot go on to its own end; the message names the file.
        midstream.storage.sqlite.StorageError: the journal cannot be opened, or another server has it.
    """
    if not folder.is_dir():
        raise ResumeError(f"there is no run folder {folder}")
    left = Left(folder)
    with ExitStack() as undo:
        undo.callback(left.close)
        provenance = left.provenance()
        if (name := provenance.specification["name"]) != folder.name:
            raise ResumeError(f"{folder} holds run {name!r}: give the folder that name back")
        gone = files_gone(folder, provenance)
        checkpoint = left.checkpoint()
        _refuse_a_gap(left, checkpoint)
        for name in gone:
            write_json(folder / name, provenance.files()[name])
            say(f"{folder / name} was gone; it is written again as the run was begun")
        _set_checkpoints_aside(left, say)
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
    """Return a run as its checkpoint has it; what its journal holds beyond is to be replayed.

    Args:
        run: the training run of what was recovered, at step 0.
        folder: its files.
        found: from `recover`.
        checkpoint_every: steps between checkpoints.
        anyway: whether the run goes on where versions, device, thread count, data set or order of derivatives
            differ; that is recorded.

    Raises:
        ResumeError: they differ.
    """
    provenance = _environment_compared(folder.path, found.provenance, run, anyway=anyway)
    if provenance != found.provenance:
        found.journal.record(provenance)
        folder.write_json(ENVIRONMENT, provenance.files()[ENVIRONMENT])
        folder.write_json(OPEN, Standing(provenance, found.journal.state, found.journal.reason).written())
    recorded = RecordedRun(run, folder, provenance=provenance)
    recorded.restore(found.checkpoint)
    return DurableRun(recorded, found.journal, checkpoint_every=checkpoint_every)


def _refuse_a_gap(left: Left, checkpoint: Checkpoint | None) -> None:
    """Raise ResumeError where there are steps that neither a checkpoint nor the journal has."""
    step = 0 if checkpoint is None else checkpoint.step
    if left.journal is not None and (begins := left.journal.trimmed()) > step:
        reason = f"its journal begins at step {begins}"
    elif left.journal is None and checkpoint is None and any(_checkpoint_files(left.folder)):
        reason = "its journal is lost, too"
    else:
        return
    why = left.why(
        f"no whole checkpoint is left that is newer than step {step} ({left.folder / NEWEST}), and {reason}"
    )
    raise ResumeError(f"{why}. Put the files back as they were, or start a new run, by another name")


def _checkpoint_files(folder: Path) -> Iterator[Path]:
    """Give the checkpoints that there are, those that were damaged before included."""
    for name in (NEWEST, OLDER):
        yield from folder.glob(f"{name}*")


def _environment_compared(
    folder: Path, provenance: Provenance, run: TrainingRun, *, anyway: bool
) -> Provenance:
    """Return the provenance with what `anyway` lets pass."""
    found = differences(provenance.environment, environment_of(run))
    if not found:
        return provenance
    if not anyway:
        raise ResumeError(
            f"run {folder.name!r} was begun with {'; '.join(found)}: its parameters would come out otherwise "
            f"than those of an undisturbed run. Go on as it was begun, or add --resume-anyway, which is "
            f"recorded in {folder / ENVIRONMENT}"
        )
    return provenance.passed(found)


def _set_checkpoints_aside(left: Left, say: Say) -> None:
    for name in (NEWEST, OLDER):
        path = left.folder / name
        if name in left.faults and path.exists():
            path.replace(path.with_name(f"{name}.damaged"))
            say(f"{left.faults[name]}; {name} is kept as {name}.damaged, and what was before it is used")


def _new_journal(left: Left, provenance: Provenance, say: Say) -> Journal:
    path = left.folder / JOURNAL
    kept = f"it is kept as {set_aside(path).name}, and " if path.exists() else ""
    say(f"{left.faults[JOURNAL]}; {kept}its batches will be asked for again")
    set_aside(path)  # what belonged to one that is gone
    journal = Journal(path, provenance)
    if left.standing is not None and OPEN not in left.faults:
        journal.remember(left.standing.state, left.standing.reason)
    return journal


def _record(left: Left, journal: Journal, provenance: Provenance, say: Say) -> None:
    """Write what the run was begun with wherever that is not yet said."""
    if journal.provenance != provenance:
        journal.record(provenance)
        write_json(left.folder / ENVIRONMENT, provenance.files()[ENVIRONMENT])
    standing = Standing(provenance, journal.state, journal.reason)
    if OPEN in left.faults:
        say(f"{left.faults[OPEN]}; it is written again")
    if OPEN in left.faults or standing != left.standing:
        write_json(left.folder / OPEN, standing.written())
