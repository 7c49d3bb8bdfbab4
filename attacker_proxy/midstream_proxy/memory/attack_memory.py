"""An attack's memory: the answers sent so far, and the attacker's state before the next batch."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from midstream.storage.sqlite import IN_MEMORY
from midstream_proxy.memory.memory_file import AnswerRecord, MemoryFile
from midstream_proxy.memory.stored_state import (
    OpenAnswer,
    Place,
    decoded,
    encoded,
    keys_of,
    known_of,
    read,
    record_of,
    summed,
)

_OPEN_ANSWERS = 8
"""Maximum number of stored answers to different contents of one batch, before the server takes one."""


class _Settled(NamedTuple):
    """An acknowledged answer, and the tensors to delete because of it."""

    number: int
    answer: OpenAnswer
    tensors: list[tuple[str, int]]


class AttackMemory:
    """The memory of one attack, with a file and its contents; use it from one thread at a time.

    An answer and the changes to the attacker's state are stored in one transaction before the answer is sent.
    So a resent batch gets the same bytes, even after a crash of this process. The attacker's state remains
    the one before the batch until the server has acknowledged the answer. Each record is checked against its
    checksum when it is read, and all records when the file is opened.

    Args:
        path: the file; `midstream.storage.sqlite.IN_MEMORY` for a memory that ends with this process.

    Raises:
        midstream.storage.sqlite.StorageError: the file cannot be opened, or another proxy uses it.
        midstream.storage.sqlite.DamagedDatabaseError: the file is damaged.
    """

    def __init__(self, path: Path = IN_MEMORY) -> None:
        self.path = path
        self._file = MemoryFile(path)
        self._settling: list[_Settled] = []
        try:
            self.begun = self._file.about("attack")
            """The description of the attack at its start; None before the start."""
            self._place, self._known, self._open = read(self._file)
        except BaseException:
            self._file.close()
            raise
        self._fresh = True  # the state read at opening has no user yet
        self._incomplete = False  # part of the state is only in the file

    def begin(self, description: Mapping[str, Any]) -> None:
        """Store the description of the attack: everything it depends on, and the identity of its `run`."""
        self._file.run = str(description["run"])
        with self._file.transaction("how the attack was begun"):
            self._file.note("attack", description)
        self.begun = dict(description)

    def resume(self, description: Mapping[str, Any], why: list[str], *, position: int | None = None) -> None:
        """Record that --resume-anyway continues the attack, and why it was needed.

        Args:
            description: the description of the attack now.
            why: the differences from the start.
            position: the batch to continue at with the present state; None if the state fits.
        """
        self._settle()
        now = {**description, "resumed_with": [*(self.begun or {}).get("resumed_with", []), why]}
        place = self._place
        with self._file.transaction("that the attack is resumed"):
            self._file.note("attack", now)
            if place is not None and position is not None:
                place = replace(place, position=position)
                self._file.note("place", place.described())
                self._file.delete_answers("seq >= ? OR number > ?", position, place.number)
                self._file.delete_tensors(keys_of(self._open))
        if place is not self._place:
            self._place, self._open = place, {}
        self.begun = now

    @property
    def untold(self) -> bool:
        """Whether the server has not yet been informed of a resumption."""
        return self.resumptions > (0 if self._place is None else self._place.told)

    @property
    def resumptions(self) -> int:
        """How often --resume-anyway continued the attack."""
        return len((self.begun or {}).get("resumed_with", []))

    def forget(self) -> None:
        """Delete everything, because another run starts."""
        self._file.forget()
        self.begun, self._place, self._known, self._open = None, None, {}, {}

    @property
    def started(self) -> bool:
        """Whether the attacker's state is stored."""
        return self._place is not None

    @property
    def position(self) -> int:
        """The number of the next batch, before which the attacker's state holds."""
        return 0 if self._place is None else self._place.position

    @property
    def empty(self) -> bool:
        """Whether the server has not acknowledged any batch."""
        return self._place is None or self._place.number == 0

    def start(self, state: Mapping[str, Tensor]) -> None:
        """Store the attacker's state before the first batch."""
        records, known = encoded(self._file.run, state, 0)
        place = Place(0, 0, summed(one.checksum for one in known.values()), 0)
        with self._file.transaction("the attacker's state"):
            self._file.insert(None, records)
            self._file.note("place", place.described())
        self._place, self._known, self._fresh = place, known, False

    def state(self) -> dict[str, Tensor]:
        """Return the stored state of the attacker before the next batch; the caller may modify it."""
        self._settle()
        if not self._fresh:
            self._place, self._known, self._open = read(self._file)
        self._fresh = self._incomplete = False
        return {name: known.value for name, known in self._known.items()}

    def before(self, now: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the attacker's state before the current batch, given its state after that batch.

        Reads only the tensors that were replaced by another object or written to.
        """
        self._settle()
        if self._incomplete:
            return self.state()
        lost = [name for name, known in self._known.items() if not known.is_still(now.get(name))]
        found = {
            record.name: known_of(decoded(record.value), record)
            for record in self._file.tensors(lost)
            if record.value is not None and record.number == self._known[record.name].number
        }
        if found.keys() != set(lost):
            raise self._file.damaged("part of the attacker's state is missing")
        self._known |= found
        return {name: known.value for name, known in self._known.items()}

    def answer(self, seq: int, came: bytes) -> AnswerRecord | None:
        """Return the answer to the batch with this digest, or None if there is none."""
        return self._file.answer(seq, came)

    def open_answers(self) -> Iterator[AnswerRecord]:
        """Return the answers that the server has not acknowledged, the latest first."""
        for _, waiting in sorted(self._open.items(), reverse=True):
            if (answer := self._file.answer(waiting.seq, waiting.came)) is not None:
                yield answer

    def store(
        self, seq: int, came: bytes, body: bytes, state: Mapping[str, Tensor], *, kept_from: int
    ) -> AnswerRecord:
        """Store an answer and the changes to the attacker's state, in one transaction.

        Writes only the tensors that were replaced by another object or written to since the previous batch.

        Args:
            seq: the batch's place in the run.
            came: digest of the body that the provider sent.
            body: the attacked body.
            state: the attacker's state after the batch.
            kept_from: answers to batches before this one are deleted.

        Raises:
            midstream.storage.sqlite.StorageError: the answer could not be stored.
        """
        assert self._place is not None
        number = max([self._place.number, *self._open]) + 1
        changed = {
            name: value
            for name, value in state.items()
            if (known := self._known.get(name)) is None or not known.is_still(value)
        }
        gone = self._known.keys() - state.keys()
        records, new = encoded(self._file.run, changed, number)
        records += [record_of(self._file.run, name, number, None) for name in gone]
        old = [self._known[name].checksum for name in (*changed, *gone) if name in self._known]
        now = summed((self._place.state, *old, *(one.checksum for one in new.values())))
        after = Place(seq + 1, number, now, self.resumptions)
        answer = AnswerRecord(number, seq, came, after.described(), body)
        surplus = sorted(self._open)[: max(0, len(self._open) + 1 - _OPEN_ANSWERS)]
        with self._file.transaction(f"batch {seq}"):
            self._write_settled()
            self._file.delete_answers("seq < ? AND number <= ?", kept_from, self._place.number)
            for other in surplus:
                self._file.delete_answers("number = ?", other)
                self._file.delete_tensors(keys_of({other: self._open[other]}))
            self._file.insert(answer, records)
        self._settling.clear()
        for other in surplus:
            del self._open[other]
        self._open[number] = OpenAnswer(seq, came, after, dict(new), gone)
        return answer

    def acknowledge(self, number: int) -> bool:
        """Take the state after an answer as the attacker's; return False if it was acknowledged before.

        The change is written with the next transaction; until then the server can confirm the batch.
        """
        taken = self._open.pop(number, None)
        if taken is None:
            return False
        replaced = [
            (name, known.number)
            for name in taken.names()
            if (known := self._known.pop(name, None)) is not None
        ]
        self._known |= {name: known for name, known in taken.changed.items() if known is not None}
        self._incomplete = None in taken.changed.values()
        gone = [(name, number) for name in taken.gone]
        self._settling.append(_Settled(number, taken, [*replaced, *gone, *keys_of(self._open)]))
        self._place, self._open = taken.place, {}
        return True

    def _settle(self) -> None:
        if self._settling:
            with self._file.transaction("what the server acknowledged"):
                self._write_settled()
            self._settling.clear()

    def _write_settled(self) -> None:
        for number, answer, tensors in self._settling:
            self._file.note("place", answer.place.described())
            self._file.delete_tensors(tensors)
            self._file.delete_answers("seq = ? AND number != ?", answer.seq, number)

    def close(self) -> None:
        """Write the acknowledged changes and close the file."""
        try:
            self._settle()
        finally:
            self._file.close()


def digest_of(body: bytes) -> bytes:
    """Return the digest that identifies a body."""
    return blake2b(body, digest_size=16).digest()
