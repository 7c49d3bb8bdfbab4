"""An attacker's state in its memory's file: the acknowledged state, and the changes of open answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from midstream_proxy.memory.memory_file import MemoryFile
from midstream_proxy.memory.records import TensorRecord
from midstream_proxy.memory.stored_rows import Block, Blocks


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

    def described(self) -> dict[str, object]:
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
        block: the rows that it wrote, if there are any.
    """

    seq: int
    came: bytes
    place: Place
    changed: dict[str, Known | None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    block: Block | None = None

    def names(self) -> list[str]:
        """Return the names of all changed tensors."""
        return [*self.changed, *self.gone]


class Settled(NamedTuple):
    """An acknowledged answer, and the records to delete because of it.

    Attributes:
        number: the answer.
        answer: what it changed.
        tensors: name and number of each tensor that is no longer needed.
        blocks: the blocks of rows that are no longer needed.
    """

    number: int
    answer: OpenAnswer
    tensors: list[tuple[str, int]]
    blocks: list[int]


@dataclass
class Stored:
    """The contents of a file, without the values of rows.

    Attributes:
        place: where the memory stands; None if the attacker's state was never stored.
        known: the state before the next batch.
        open: the answers that the server has not acknowledged, by number.
        blocks: the blocks of rows before the next batch.
    """

    place: Place | None = None
    known: dict[str, Known] = field(default_factory=dict)
    open: dict[int, OpenAnswer] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)

    def acknowledge(self, number: int) -> Settled | None:
        """Take the state after an answer; None if it is not an open answer."""
        taken = self.open.pop(number, None)
        if taken is None:
            return None
        replaced = [
            (name, known.number)
            for name in taken.names()
            if (known := self.known.pop(name, None)) is not None
        ]
        self.known |= {name: known for name, known in taken.changed.items() if known is not None}
        gone = [(name, number) for name in taken.gone]
        emptied = self.blocks.take(taken.block) if taken.block else []
        others, self.open = self.open, {}
        self.place = taken.place
        return Settled(number, taken, [*replaced, *gone, *keys_of(others)], [*emptied, *blocks_of(others)])


def read(file: MemoryFile) -> Stored:
    """Read a file; check each record against its checksum, and all of the state against their sum.

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
    blocks, waiting = _read_blocks(file, settled)
    found = {settled: summed([*(one.checksum for one in known.values()), *blocks.checksums.values()])}
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
    for block in waiting:
        if block.number not in answers:
            raise file.damaged(f"the attacker's rows after answer {block.number} are there without it")
        answers[block.number].block = block
        found[block.number] ^= blocks.change_by(block)
    wanted = {settled: 0 if place is None else place.state}
    wanted |= {number: answer.place.state for number, answer in answers.items()}
    if found != wanted or (place is None and answers):
        raise file.damaged("part of the attacker's state is missing")
    return Stored(place, known, answers, blocks)


def _read_blocks(file: MemoryFile, settled: int) -> tuple[Blocks, list[Block]]:
    """Return the acknowledged blocks of rows, and those of open answers."""
    blocks, waiting = Blocks(), []
    for record in file.blocks():
        block = Block.of(record)
        if block.number > settled:
            waiting.append(block)
        elif blocks.take(block):
            raise file.damaged("rows of the attacker's state are there twice")
    return blocks, waiting


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


def blocks_of(answers: Mapping[int, OpenAnswer]) -> list[int]:
    """Return the blocks of rows that the answers wrote."""
    return [number for number, answer in answers.items() if answer.block]


def summed(checksums: Iterable[int]) -> int:
    """Return the exclusive or of checksums, which does not depend on their order."""
    return reduce(xor, checksums, 0)
