"""Which examples an attacker altered, noted in its own log; see `midstream.storage.attacked`."""

from pathlib import Path

import torch
from torch import Tensor

from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.wire import WireBatch
from midstream.storage.lines import append_line
from midstream.storage.sqlite import StorageError


def note(path: Path | None, came: WireBatch, sent: WireBatch) -> None:
    """Append which examples of a batch the attacker altered, their pixels or their labels, or added.

    An example that is only repeated or stands in another place is not altered.

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
    attacked = _altered(came, sent)
    try:
        append_line(path, {"seq": came.seq, "examples": len(sent.labels), "attacked": attacked})
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def _altered(came: WireBatch, sent: WireBatch) -> list[int]:
    clean, inputs, labels = pixels(came.inputs).cpu(), sent.inputs.cpu(), sent.labels.cpu()
    if clean.shape == inputs.shape:
        relabelled = (came.labels.cpu() != labels).reshape(len(labels), -1).any(dim=1)
        differs = (clean != inputs).flatten(1).any(dim=1) | relabelled
    else:
        differs = torch.ones(len(labels), dtype=torch.bool)
    places: list[int] = differs.nonzero()[:, 0].tolist()
    if not places:
        return []
    known = set(zip(content_keys(clean), _keys(came.labels), strict=True))
    found = zip(places, content_keys(inputs[differs]), _keys(labels[differs]), strict=True)
    return [place for place, key, label in found if (key, label) not in known]


def _keys(labels: Tensor) -> list[tuple[float, ...]]:
    """Return the labels of each example: a class, a number, or one number for each output."""
    return [tuple(row) for row in labels.reshape(len(labels), -1).tolist()]
