"""Which examples an attacker altered, noted in its own log; see `midstream.storage.attacked`."""

from pathlib import Path

from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.wire import WireBatch
from midstream.storage.lines import append_line
from midstream.storage.sqlite import StorageError


def note(path: Path | None, came: WireBatch, sent: WireBatch) -> None:
    """Append which examples of a batch the attacker altered, their pixels or their labels.

    A batch that is attacked again after a crash is altered in the same way, and noted again.

    Args:
        path: the log; None writes nothing.
        came: the batch before the attack.
        sent: the batch after it.

    Raises:
        midstream.storage.sqlite.StorageError: the line could not be written.
    """
    if path is None:
        return
    moved = (pixels(came.inputs).cpu() != sent.inputs.cpu()).flatten(1).any(dim=1)
    altered = moved | (came.labels.cpu() != sent.labels.cpu())
    attacked = altered.nonzero()[:, 0].tolist()
    try:
        append_line(path, {"seq": came.seq, "examples": len(altered), "attacked": attacked})
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
