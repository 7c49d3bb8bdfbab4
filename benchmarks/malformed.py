"""Malformed batches, which a server must refuse: a valid batch with one defect."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np

from midstream.protocol.wire import WireError, decode_batch

Fields = dict[str, Any]
Spoil = Callable[[bytes, random.Random], bytes]


def malformed(good: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Return the name of a random defect, and the batch with that defect.

    Args:
        good: a valid batch with float32 inputs.
        chance: the only source of randomness.
    """
    kind = chance.choice(list(KINDS))
    return kind, KINDS[kind](good, chance)


def _noise(_: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(2000))


def _cut(good: bytes, chance: random.Random) -> bytes:
    return good[: chance.randrange(len(good))]


def _longer(good: bytes, chance: random.Random) -> bytes:
    return good + chance.randbytes(chance.randint(1, 500))


def _shifted(good: bytes, chance: random.Random) -> bytes:
    where, size = chance.randrange(len(good)), chance.randint(1, 9)
    if chance.random() < 0.5:
        return good[:where] + good[where + size :]
    return good[:where] + chance.randbytes(size) + good[where:]


def _damaged_frame(good: bytes, chance: random.Random) -> bytes:
    # Damage before the pixels, after them or anywhere; damage that no decoder can detect is not sent.
    while True:
        spoiled = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            spoiled[chance.choice([chance.randrange(90), -chance.randrange(1, 900)])] = chance.randrange(256)
        try:
            decode_batch(bytes(spoiled))
        except WireError:
            return bytes(spoiled)


def _nested(_: bytes, chance: random.Random) -> bytes:
    return chance.choice([b"\x91", b"\x81\xa1a", b"\xdc\x00\x01"]) * chance.randint(100, 10_000)


def _claims(_: bytes, chance: random.Random) -> bytes:
    kinds = [b"\xc6", b"\xdb", b"\xdd", b"\xdf", b"\xc9"]
    return b"\x81\xa6inputs" + chance.choice(kinds) + chance.randint(2**20, 2**32 - 1).to_bytes(4, "big")


def _field(change: Callable[[Fields, random.Random], None]) -> Spoil:
    def spoil(good: bytes, chance: random.Random) -> bytes:
        fields: Fields = msgpack.unpackb(good)
        change(fields, chance)
        packed: bytes = msgpack.packb(fields)
        return packed

    return spoil


def _missing(fields: Fields, chance: random.Random) -> None:
    del fields[chance.choice(["protocol", "seq", "inputs", "labels"])]


def _unknown(fields: Fields, chance: random.Random) -> None:
    fields[f"field-{chance.randrange(1000)}"] = chance.choice([None, 1, "x", []])


def _replaced(fields: Fields, chance: random.Random) -> None:
    where = chance.choice([fields, fields["inputs"], fields["labels"]])
    key = chance.choice([key for key in where if key not in ("parameters_version", "report")])
    where[key] = chance.choice([-1, 2**64 - 1, True, "text", b"", [], [[]], {}, None, 1.5])


def _seq(fields: Fields, chance: random.Random) -> None:
    fields["seq"] += chance.choice([1, 7, 2**40, -fields["seq"] - 1])


def _version(fields: Fields, chance: random.Random) -> None:
    fields["parameters_version"] = fields["seq"] + chance.choice([1, 2**50])


def _report(fields: Fields, chance: random.Random) -> None:
    fields["report"] = chance.choice(
        [{"x": float("nan")}, {"X": 1.0}, {f"n{i}": 1.0 for i in range(17)}, {"x": "y"}, [1]]
    )


def _signature(fields: Fields, chance: random.Random) -> None:
    fields["signature"] = chance.choice([b"", bytes(31), bytes(33), "x" * 32, None, 32, [bytes(32)]])


def _shape(fields: Fields, chance: random.Random) -> None:
    examples, *rest = fields["inputs"]["shape"]
    shapes = [
        [*rest, examples],
        [examples * 64],
        [examples, 64],
        [1, examples, *rest],
        [2**40, 2**40, 0],
        [0],
    ]
    fields["inputs"]["shape"] = chance.choice(shapes)


def _fewer(fields: Fields, chance: random.Random) -> None:
    name, size = chance.choice([("inputs", 256), ("labels", 8)])
    kept = chance.randrange(fields[name]["shape"][0])
    fields[name]["shape"][0] = kept
    fields[name]["data"] = fields[name]["data"][: kept * size]


def _pixel(fields: Fields, chance: random.Random) -> None:
    pixels = np.frombuffer(fields["inputs"]["data"], "<f4").copy()
    value = chance.choice([float("nan"), float("inf"), -float("inf"), -1e-7, 1.001, 255.0, 3e38])
    pixels[chance.randrange(len(pixels))] = value
    fields["inputs"]["data"] = pixels.tobytes()


def _label(fields: Fields, chance: random.Random) -> None:
    labels = np.frombuffer(fields["labels"]["data"], "<i8").copy()
    labels[chance.randrange(len(labels))] = chance.choice([-1, 10, 255, 2**62, -(2**63)])
    fields["labels"]["data"] = labels.tobytes()


def _dtype(fields: Fields, chance: random.Random) -> None:
    name = chance.choice(["inputs", "labels"])
    array = np.frombuffer(fields[name]["data"], "<f4" if name == "inputs" else "<i8")
    dtype = chance.choice(
        ["float64", "float16", "int64"] if name == "inputs" else ["uint8", "float32", "<i8"]
    )
    with suppress(TypeError):
        fields[name]["data"] = array.astype(dtype).tobytes()
    fields[name]["dtype"] = dtype


KINDS: dict[str, Spoil] = {
    "random bytes": _noise,
    "truncated": _cut,
    "trailing bytes": _longer,
    "bytes inserted or removed": _shifted,
    "bytes of the frame replaced": _damaged_frame,
    "unbounded nesting": _nested,
    "sizes declared but not sent": _claims,
    "a missing field": _field(_missing),
    "an unknown field": _field(_unknown),
    "a field of the wrong type": _field(_replaced),
    "another seq": _field(_seq),
    "a parameters version in the future": _field(_version),
    "an invalid report": _field(_report),
    "an invalid signature": _field(_signature),
    "another shape": _field(_shape),
    "fewer examples": _field(_fewer),
    "an invalid pixel": _field(_pixel),
    "an invalid label": _field(_label),
    "another dtype": _field(_dtype),
}
"""The defects by name, as the table in `docs/reliability.md` lists them."""
