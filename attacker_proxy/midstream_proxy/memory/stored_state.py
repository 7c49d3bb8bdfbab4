"""An attacker's state in its memory's file: the acknowledged state, and the changes of open answers."""

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
        position: number of the next batch, before which the attacker's state holds.
        number: the last acknowledged answer; 0 before the first.
        state: exclusive or of the checksums of the state's tensors.
        told: number of resumptions that the server has been informed of.
    """

    position: int
    number: int
    state: int
    told: int

    def described(self) -> dict[str, Any]:
        """Return the place as JSON values."""
        return {**vars(self), "state": f"{self.state:032x}"}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Place":
        """Return the place from the values of `described`."""
        return cls(**{**described, "state": int(described["state"], 16)})


class Known(NamedTuple):
    """A stored tensor.

    Attributes:
        value: the tensor object.
        version: torch's count of writes to it when stored; None if torch does not count.
        checksum: the checksum of its record.
        number: the answer after which it was stored.
    """

    value: Tensor
    version: int | None
    checksum: int
    number: int

    def is_still(self, value: Tensor | None) -> bool:
        """Return whether a tensor is the same object, without writes since it was stored."""
        return value is self.value and self.version is not None and self.value._version == self.version


@dataclass
class OpenAnswer:
    """An answer that the server has not acknowledged, and its changes to the state.

    Attributes:
        seq: the batch's place in the run.
        came: digest of the body that the provider sent.
        place: where the memory stands once the answer is acknowledged.
        changed: the new or changed tensors; None for a tensor that is only in the file.
        gone: the names that the state no longer has.
    """

    seq: int
    came: bytes
    place: Place
    changed: dict[str, Known | None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def names(self) -> list[str]:
        """Return the names of all changed tensors."""
        return [*self.changed, *self.gone]


class Stored(NamedTuple):
    """The contents of a file.

    Attributes:
        place: where the memory stands; None if the attacker's state was never stored.
        known: the state before the next batch.
        open: the answers that the server has not acknowledged, by number.
    """

    place: Place | None
    known: dict[str, Known]
    open: dict[int, OpenAnswer]


def read(file: MemoryFile) -> Stored:
    """Read a file; check each record against its checksum, and all tensors against their sum.

    Raises:
        midstream.storage.sqlite.DamagedDatabaseError: the file is damaged.
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
            raise file.damaged(f"the attacker's {record.name!r} is there twice")
        else:
            known[record.name] = known_of(decoded(record.value), record)
    found = {settled: summed(one.checksum for one in known.values())}
    found |= dict.fromkeys(answers, found[settled])
    for record in later:
        if record.number not in answers:
            raise file.damaged(f"the attacker's {record.name!r} is there without its answer")
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
        raise file.damaged("part of the attacker's state is missing")
    return Stored(place, known, answers)


def encoded(
    run: str, state: Mapping[str, Tensor], number: int
) -> tuple[list[TensorRecord], dict[str, Known]]:
    """Return the records of tensors that are valid after an answer, and their `Known` entries."""
    records, known = [], {}
    for name, value in state.items():
        content = safetensors.torch.save({"value": value.detach().cpu().contiguous()})
        records.append(record := record_of(run, name, number, content))
        known[name] = known_of(value, record)
    return records, known


def record_of(run: str, name: str, number: int, value: bytes | None) -> TensorRecord:
    """Return the record of an encoded tensor; a value of None marks one that the state no longer has."""
    found = checksum(run, "tensor", name, number, value)
    return TensorRecord(name, number, int.from_bytes(found), value)


def decoded(value: bytes) -> Tensor:
    """Return the tensor of a record."""
    return safetensors.torch.load(value)["value"]


def known_of(value: Tensor, record: TensorRecord) -> Known:
    """Return the `Known` entry of a tensor and its record."""
    return Known(value, version_of(value), record.checksum, record.number)


def version_of(tensor: Tensor) -> int | None:
    """Return torch's count of writes to a tensor; None if torch does not count."""
    return None if tensor.is_inference() else tensor._version


def keys_of(answers: Mapping[int, OpenAnswer]) -> list[tuple[str, int]]:
    """Return name and number of each tensor that the answers changed."""
    return [(name, number) for number, answer in answers.items() for name in answer.names()]


def summed(checksums: Iterable[int]) -> int:
    """Return the exclusive or of checksums, which does not depend on their order."""
    return reduce(xor, checksums, 0)
