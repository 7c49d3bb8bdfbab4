"""A batch as bytes, whole or with fields changed."""

from typing import Any

import msgpack

INPUTS = {"dtype": "uint8", "shape": [1, 2], "data": b"ab"}
LABELS = {"dtype": "int64", "shape": [1], "data": bytes(8)}
GOOD: dict[str, Any] = {
    "protocol": 1,
    "seq": 0,
    "parameters_version": None,
    "inputs": INPUTS,
    "labels": LABELS,
}


def packed(**changes: Any) -> bytes:
    body: bytes = msgpack.packb(GOOD | changes)
    return body


def inputs(**changes: Any) -> bytes:
    return packed(inputs=INPUTS | changes)
