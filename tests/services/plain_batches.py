"""The run's batches as any MessagePack library would write them, and with something changed."""

from collections.abc import Callable
from typing import Any

import msgpack
from numpy.typing import NDArray

from services import tiny

Fields = dict[str, Any]
Change = Callable[[Fields], None]


def tensor(array: NDArray[Any]) -> Fields:
    return {"dtype": str(array.dtype), "shape": list(array.shape), "data": array.tobytes()}


def fields(seq: int) -> Fields:
    """Return a batch of the run as any MessagePack library would be given it."""
    batch = tiny.batch(seq)
    return {
        "protocol": 1,
        "seq": seq,
        "parameters_version": None,
        "inputs": tensor(batch.inputs.numpy()),
        "labels": tensor(batch.labels.numpy()),
    }


def changed(seq: int, change: Change) -> bytes:
    found = fields(seq)
    change(found)
    packed: bytes = msgpack.packb(found)
    return packed


def inputs(array: NDArray[Any]) -> Change:
    return lambda found: found.update(inputs=tensor(array))


def labels(array: NDArray[Any]) -> Change:
    return lambda found: found.update(labels=tensor(array))


def pixel(value: float) -> Change:
    array = tiny.batch(0).inputs.numpy().copy()
    array[-1, 0, -1, -1] = value
    return inputs(array)


def label(value: int) -> Change:
    array = tiny.batch(0).labels.numpy().copy()
    array[-1] = value
    return labels(array)
