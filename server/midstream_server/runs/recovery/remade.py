"""A run whose batches need no journal, because the process that trains can make each of them again."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from midstream.players.reporting import Say
from midstream.storage.run_folder import RunFolder, write_json
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.checkpoint import Checkpoint
from midstream_server.runs.recovery.checkpointed import CheckpointedRun
from midstream_server.runs.recovery.left import JOURNAL, Left, ResumeError
from midstream_server.runs.recovery.provenance import Provenance, Standing
from midstream_server.runs.recovery.resuming import environment_compared, is_left, set_checkpoints_aside
from midstream_server.runs.recovery.unaltered import files_gone
from midstream_server.runs.training import TrainingRun


def open_run(
    run: TrainingRun, path: Path, *, attacker: Callable[[], Mapping[str, Tensor]], say: Say
) -> tuple[CheckpointedRun, Checkpoint | None]:
    """Start a run in a folder, or resume the unfinished run that the folder holds.

    Args:
        run: the training run, at step 0.
        path: the run's folder.
        attacker: returns the attacker's memory, which the checkpoints include.
        say: called with a sentence for each damaged file.

    Returns:
        The run, and the checkpoint that it was restored from; None if it is at step 0.

    Raises:
        FileExistsError: the folder holds a finished run.
        ResumeError: the run cannot be resumed with the same result, or belongs to a server; the message names
            the file.
    """
    left = _left(run, path, say) if is_left(path) else None
    with ExitStack() as undo:
        folder = RunFolder(path, resumed=left is not None)
        undo.callback(folder.close)
        provenance, checkpoint = left or (Provenance.of(run), None)
        recorded = RecordedRun(run, folder, provenance=provenance, attacker=attacker)
        folder.mark_open(Standing(provenance).written())
        if left is None:
            recorded.begin()  # writes the specification last: its presence makes the folder a run
        else:
            recorded.restore(checkpoint)
        undo.pop_all()
    return CheckpointedRun(recorded, checkpoint_every=None), checkpoint


def _left(run: TrainingRun, path: Path, say: Say) -> tuple[Provenance, Checkpoint | None]:
    """Return what an unfinished run was started with, and its newest usable checkpoint."""
    if (path / JOURNAL).exists():
        raise ResumeError(
            f"{path / JOURNAL} belongs to a server, which began this run over HTTP; go on with that server, "
            f"or with --transport http"
        )
    left = Left(path)
    try:
        began = left.provenance()
        if (name := began.specification["name"]) != path.name:
            raise ResumeError(f"{path} holds run {name!r}: rename the folder to {name!r}")
        gone = files_gone(path, began)
        checkpoint = left.checkpoint()
    finally:
        left.close()
    environment_compared(path, began, run, anyway=False)
    for name in gone:
        write_json(path / name, began.files()[name])
    set_checkpoints_aside(left, say)
    return began, checkpoint
