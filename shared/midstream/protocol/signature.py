"""Batch signatures: a provider signs each batch, and the server detects alterations on the way."""

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
    """Return the key in a file: all of the file's bytes.

    Raises:
        ValueError: other users can access the file, or the key is too short.
        OSError: the file cannot be read.
    """
    key = read_secret(path)
    if len(key) < _SHORTEST:
        raise ValueError(
            f"{path} has {len(key)} bytes; a key needs {_SHORTEST}: "
            f"(umask 077; head -c {_SHORTEST} /dev/urandom > {path})"
        )
    return key


def signature(batch: WireBatch, *, run: str, key: bytes) -> bytes:
    """Return the HMAC-SHA256 of a batch's run, number and content.

    The parts are purpose, run and seq, then dtype, shape and data of the inputs and of the labels. The length
    of each part precedes it, so that different batches never give the same bytes. All numbers are unsigned
    64-bit little-endian integers (`docs/protocol.md`).
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
    """Return the batch with its signature, replacing any other; without a key, return it unchanged."""
    return batch if key is None else replace(batch, signature=signature(batch, run=run, key=key))


def check_signature(batch: WireBatch, *, run: str, key: bytes) -> None:
    """Raise Problem 403 unless a holder of the key signed the batch and nobody altered it."""
    if batch.signature is None:
        raise Problem(
            403,
            "The batch is not signed",
            f"batch {batch.seq} has no signature, and run {run!r} accepts only signed batches; "
            f"start the provider with: midstream provide --sign-key FILE",
        )
    if not hmac.compare_digest(batch.signature, signature(batch, run=run, key=key)):
        raise Problem(
            403,
            "The signature does not fit",
            f"batch {batch.seq} of run {run!r} was altered after it was signed, or signed with another key",
        )
