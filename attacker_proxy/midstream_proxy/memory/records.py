"""The records of an attack's memory, and their checksums."""

from hashlib import blake2b
from typing import Any, NamedTuple


class AnswerRecord(NamedTuple):
    """One answer.

    Attributes:
        number: counts the answers.
        seq: the batch's place in the run.
        came: digest of the body that the provider sent.
        after: where the memory stands once the batch is acknowledged.
        body: the attacked body.
    """

    number: int
    seq: int
    came: bytes
    after: dict[str, Any]
    body: bytes


class TensorRecord(NamedTuple):
    """One tensor of the attacker's state.

    Attributes:
        name: its name in the state.
        number: the answer after which it is valid; 0 at the start.
        checksum: the record's checksum.
        value: the encoded tensor; None if the state no longer has it.
    """

    name: str
    number: int
    checksum: int
    value: bytes | None


class BlockRecord(NamedTuple):
    """The rows that one answer wrote; see `midstream.mathematics.inputs.rows.Rows`.

    Attributes:
        number: the answer after which they are valid; 0 at the start.
        checksum: the record's checksum.
        keys: the content keys of the rows, one after the other.
        value: the encoded rows.
    """

    number: int
    checksum: int
    keys: bytes
    value: bytes


def checksum(run: str, *parts: str | int | bytes | None) -> bytes:
    """Return a digest of a run's identity and a record's parts, with their types and lengths."""
    lengths = [len(part) if isinstance(part, bytes) else [part] for part in parts]
    digest = blake2b(repr((run, lengths)).encode(), digest_size=16)
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
    return digest.digest()


def digest_of(body: bytes) -> bytes:
    """Return the digest that identifies a body."""
    return blake2b(body, digest_size=16).digest()
