"""What a provider signs, so that a server can tell what was altered on the way."""

import hmac
import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from midstream.protocol.problem import Problem
from midstream.protocol.wire import WireBatch, layout
from midstream.storage.secret_files import read_secret

_PURPOSE = b"midstream batch signature 1"
_SHORTEST = 32


def read_key(path: Path) -> bytes:
    """Return the key that a file holds: all its bytes, as they are.

    Raises:
        ValueError: the file is open to others, or the key is too short.
        OSError: it cannot be read.
    """
    key = read_secret(path)
    if len(key) < _SHORTEST:
        raise ValueError(
            f"{path} has {len(key)} bytes; a key needs {_SHORTEST}: "
            f"(umask 077; head -c {_SHORTEST} /dev/urandom > {path})"
        )
    return key


def signature(batch: WireBatch, *, run: str, key: bytes) -> bytes:
    """Return the HMAC-SHA256 of a batch's run, place and content.

    Each part that goes into it is preceded by its length, so that no two batches have the same parts:
    purpose, run, seq, and of inputs and labels dtype, shape and data. All numbers are unsigned,
    little-endian, of 64 bits (`docs/protocol.md`).
    """
    digest = hmac.new(key, digestmod=sha256)
    parts: list[bytes | memoryview] = [_PURPOSE, run.encode(), struct.pack("<Q", batch.seq)]
    for tensor in (batch.inputs, batch.labels):
        dtype, shape, data = layout(tensor)
        parts += [dtype.encode(), struct.pack(f"<{len(shape)}Q", *shape), data]
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.digest()


def signed(batch: WireBatch, *, run: str, key: bytes | None) -> WireBatch:
    """Return the batch with its signature, in place of any other; as it is, without a key."""
    return batch if key is None else replace(batch, signature=signature(batch, run=run, key=key))


def check_signature(batch: WireBatch, *, run: str, key: bytes) -> None:
    """Raise Problem 403 where a batch is not as the holder of the key sent it."""
    if batch.signature is None:
        raise Problem(
            403,
            "The batch is not signed",
            f"batch {batch.seq} carries no signature, and run {run!r} takes those alone that its provider "
            f"signed: midstream provide --sign-key FILE",
        )
    if not hmac.compare_digest(batch.signature, signature(batch, run=run, key=key)):
        raise Problem(
            403,
            "The signature does not fit",
            f"batch {batch.seq} of run {run!r} was altered after it was signed, or signed with another key",
        )
