"""An attacker's state as its memory's file holds it: what is settled, and what may yet become of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from midstream_proxy.memory.memory_file import MemoryFile, TensorRecord, checksum


@dataclass(frozen=True)
class Place:
    """Where a memory stands.

    Attributes:
        position: the batch that the attacker's state is the one before.
        number: the last answer that was acknowledged; 0 before the first.
        state: the sum, by exclusive or, of the checksums of the state's tensors.
        told: of how many resumptions the server was told.
    """

    position: int
    number: int
    state: int
    told: int

    def described(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**vars(self), "state": f"{self.state:032x}"}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Place":
        """Return what `described` described."""
        return cls(**{**described, "state": int(described["state"], 16)})


class Known(NamedTuple):
    """A tensor that is stored.

    Attributes:
        value: the object.
        version: how often torch had written to it; None where torch does not say.
        checksum: of its record.
        number: the answer after which it was stored.
    """

    value: Tensor
    version: int | None
    checksum: int
    number: int

    def is_still(self, value: Tensor | None) -> bool:
        """Return whether a tensor is that object, and was not written to since."""
        return value is self.value and self.version is not None and self.value._version == self.version


@dataclass
class OpenAnswer:
    """An answer that the server has not acknowledged, and what its batch changed of the state.

    Attributes:
        seq: the batch's place in the run.
        came: digest of the body that the provider sent.
        place: where the memory stands once it is acknowledged.
        changed: the tensors that are new, or other ones; None where only the file has them.
        gone: the names that the state lost.
    """

    seq: int
    came: bytes
    place: Place
    changed: dict[str, Known | None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def names(self) -> list[str]:
        """Return the names of everything that changed."""
        return [*self.changed, *self.gone]


class Stored(NamedTuple):
    """What a file holds.

    Attributes:
        place: where the memory stands; None where the attacker's state was never stored.
        known: the state before the next batch.
        open: the answers that the server has not acknowledged, by number.
    """

    place: Place | None
    known: dict[str, Known]
    open: dict[int, OpenAnswer]


def read(file: MemoryFile) -> Stored:
    """Read everything that a file holds, each record against its checksum, and all against their sums.

    Raises:
        midstream.storage.sqlite.DamagedDatabaseError: it is not what was written.
    """
    noted = file.about("place")
    place = None if noted is None else Place.of(noted)
    settled = 0 if place is None else place.number
    answers = {
        answer.number: OpenAnswer(answer.seq, answer.came, Place.of(answer.after))
        for answer in file.answers()
        if answer.number > settled
    }
    known: dict[str, Known] = {}
    later: list[TensorRecord] = []
    for record in file.tensors():
        if record.number > settled:
            later.append(record)
        elif record.value is None or record.name in known:
            raise file.damaged(f"the attacker's {record.name!r} stands there twice")
        else:
            known[record.name] = known_of(decoded(record.value), record)
    found = {settled: summed(one.checksum for one in known.values())}
    found |= dict.fromkeys(answers, found[settled])
    for record in later:
        if record.number not in answers:
            raise file.damaged(f"the attacker's {record.name!r} stands there without its answer")
        if record.name in known:
            found[record.number] ^= known[record.name].checksum
        if record.value is None:
            answers[record.number].gone.add(record.name)
        else:
            answers[record.number].changed[record.name] = None
            found[record.number] ^= record.checksum
    wanted = {settled: 0 if place is None else place.state}
    wanted |= {number: answer.place.state for number, answer in answers.items()}
    if found != wanted or (place is None and answers):
        raise file.damaged("of the attacker's state something is missing")
    return Stored(place, known, answers)


def encoded(
    run: str, state: Mapping[str, Tensor], number: int
) -> tuple[list[TensorRecord], dict[str, Known]]:
    """Return the records of tensors that hold after an answer, and what is known of them then."""
    records, known = [], {}
    for name, value in state.items():
        content = safetensors.torch.save({"value": value.detach().cpu().contiguous()})
        records.append(record := record_of(run, name, number, content))
        known[name] = known_of(value, record)
    return records, known


def record_of(run: str, name: str, number: int, value: bytes | None) -> TensorRecord:
    """Return the record of an encoded tensor; None for one that the state lost."""
    found = checksum(run, "tensor", name, number, value)
    return TensorRecord(name, number, int.from_bytes(found), value)


def decoded(value: bytes) -> Tensor:
    """Return the tensor of a record."""
    return safetensors.torch.load(value)["value"]


def known_of(value: Tensor, record: TensorRecord) -> Known:
    """Return what is known of a tensor that a record holds."""
    return Known(value, version_of(value), record.checksum, record.number)


def version_of(tensor: Tensor) -> int | None:
    """Return how often torch has written to a tensor; None where it does not say."""
    return None if tensor.is_inference() else tensor._version


def keys_of(answers: Mapping[int, OpenAnswer]) -> list[tuple[str, int]]:
    """Return name and number of every tensor that answers brought."""
    return [(name, number) for number, answer in answers.items() for name in answer.names()]


def summed(checksums: Iterable[int]) -> int:
    """Return the sum of checksums by exclusive or, which does not depend on their order."""
    return reduce(xor, checksums, 0)
