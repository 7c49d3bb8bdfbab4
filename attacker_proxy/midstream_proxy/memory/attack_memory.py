"""An attack's memory: the answers sent so far, and the attacker's state before the next batch."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from midstream.mathematics.inputs.rows import Rows
from midstream.storage.sqlite import IN_MEMORY
from midstream_proxy.memory.acknowledged import Acknowledged, delete_open
from midstream_proxy.memory.changes import changes
from midstream_proxy.memory.memory_file import MemoryFile
from midstream_proxy.memory.records import AnswerRecord
from midstream_proxy.memory.stored_rows import FollowedRows
from midstream_proxy.memory.stored_state import OpenAnswer, Place, Stored, decoded, known_of, read

_OPEN_ANSWERS = 8
"""Maximum number of stored answers to different contents of one batch, before the server takes one."""

_FORMAT = 2
"""Version of the records; those of version 1 had one record for each row."""


class AttackMemory:
    """The memory of one attack, with a file and its contents; use it from one thread at a time.

    An answer and the changes to the attacker's state are stored in one transaction before the answer is sent.
    So a resent batch gets the same bytes, even after a crash of this process. The attacker's state remains
    the one before the batch until the server has acknowledged the answer. Each record is checked against its
    checksum when it is read, and all records when the file is opened.

    Most of an attacker's state may be `midstream.mathematics.inputs.rows.Rows`, of which each batch changes
    only its own. They are stored in blocks, one for each answer, and are not part of the other state here.

    Args:
        path: the file; `midstream.storage.sqlite.IN_MEMORY` for a memory that ends with this process.

    Raises:
        midstream.storage.sqlite.StorageError: the file cannot be opened, or another proxy uses it.
        midstream.storage.sqlite.DamagedDatabaseError: the file is damaged, or an earlier midstream wrote it.
    """

    def __init__(self, path: Path = IN_MEMORY) -> None:
        self.path = path
        self._file = MemoryFile(path)
        self._rows = FollowedRows(self._file)
        self._acknowledged = Acknowledged(self._file)
        try:
            self.begun = self._file.about("attack")
            """The description of the attack at its start; None before the start."""
            if self.begun is not None and self.begun.get("format") != _FORMAT:
                raise self._file.written_earlier("with other records")
            self._stored = read(self._file)
        except BaseException:
            self._file.close()
            raise
        self._fresh = True  # the state read at opening has no user yet
        self._incomplete = False  # part of the state is only in the file

    def begin(self, description: Mapping[str, object]) -> None:
        """Store the description of the attack: everything it depends on, and the identity of its `run`."""
        self._file.run = str(description["run"])
        begun = {"format": _FORMAT, **description}
        with self._file.transaction("how the attack was begun"):
            self._file.note("attack", begun)
        self.begun = begun

    def resume(self, description: dict[str, object], why: list[str], *, position: int | None = None) -> None:
        """Record that --resume-anyway continues the attack, and why it was needed.

        Args:
            description: the description of the attack now.
            why: the differences from the start.
            position: the batch to continue at with the present state; None if the state fits.
        """
        self._acknowledged.write()
        passed = [*(self.begun or {}).get("resumed_with", []), why]
        now = {"format": _FORMAT, **description, "resumed_with": passed}
        stored, place = self._stored, self._stored.place
        with self._file.transaction("that the attack is resumed"):
            self._file.note("attack", now)
            if place is not None and position is not None:
                place = replace(place, position=position)
                self._file.note("place", place.described())
                self._file.delete_answers("seq >= ? OR number > ?", position, place.number)
                delete_open(self._file, stored.open)
        if place is not stored.place:
            stored.place, stored.open = place, {}
        self.begun = now

    @property
    def untold(self) -> bool:
        """Whether the server has not yet been informed of a resumption."""
        place = self._stored.place
        return self.resumptions > (0 if place is None else place.told)

    @property
    def resumptions(self) -> int:
        """How often --resume-anyway continued the attack."""
        return len((self.begun or {}).get("resumed_with", []))

    def forget(self) -> None:
        """Delete everything, because another run starts."""
        self._file.forget()
        self.begun, self._stored = None, Stored()

    @property
    def started(self) -> bool:
        """Whether the attacker's state is stored."""
        return self._stored.place is not None

    @property
    def position(self) -> int:
        """The number of the next batch, before which the attacker's state holds."""
        return 0 if self._stored.place is None else self._stored.place.position

    @property
    def empty(self) -> bool:
        """Whether the server has not acknowledged any batch."""
        return self._number == 0

    @property
    def _number(self) -> int:
        return 0 if self._stored.place is None else self._stored.place.number

    def start(self, state: Mapping[str, Tensor], rows: Rows | None = None) -> None:
        """Store the attacker's state before the first batch; from now on its rows are followed, if any."""
        found = changes(self._file.run, 0, Stored(), state, rows)
        place = Place(0, 0, found.state, 0)
        with self._file.transaction("the attacker's state"):
            self._file.insert(None, found.tensors, found.blocks)
            self._file.note("place", place.described())
        self._stored, self._fresh = Stored(place, found.known), False
        if found.block is not None:
            self._stored.blocks.take(found.block)
        if rows is not None:
            self._rows.mark(rows, 0)

    def state(self) -> dict[str, Tensor]:
        """Return the stored state of the attacker before the next batch; the caller may modify it."""
        self._acknowledged.write()
        if not self._fresh:
            self._stored = read(self._file)
        self._fresh = self._incomplete = False
        return {name: known.value for name, known in self._stored.known.items()}

    def before(self, now: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the attacker's state before the current batch, given its state after that batch.

        Reads only the tensors that were replaced by another object or written to.
        """
        self._acknowledged.write()
        if self._incomplete:
            return self.state()
        known = self._stored.known
        lost = [name for name, one in known.items() if not one.is_still(now.get(name))]
        found = {
            record.name: known_of(decoded(record.value), record)
            for record in self._file.tensors(lost)
            if record.value is not None and record.number == known[record.name].number
        }
        if found.keys() != set(lost):
            raise self._file.damaged("part of the attacker's state is missing")
        known |= found
        return {name: one.value for name, one in known.items()}

    def rewind(self, rows: Rows) -> None:
        """Bring the attacker's rows to what they were before the next batch."""
        self._acknowledged.write()
        self._rows.rewind(rows, self._number)

    def keep(self, rows: Rows) -> None:
        """Take the attacker's rows as those before the next batch, since its own answer was acknowledged."""
        self._rows.mark(rows, self._number)

    def answer(self, seq: int, came: bytes) -> AnswerRecord | None:
        """Return the answer to the batch with this digest, or None if there is none."""
        return self._file.answer(seq, came)

    def open_answers(self) -> Iterator[AnswerRecord]:
        """Return the answers that the server has not acknowledged, the latest first."""
        for _, waiting in sorted(self._stored.open.items(), reverse=True):
            if (answer := self._file.answer(waiting.seq, waiting.came)) is not None:
                yield answer

    def store(
        self,
        seq: int,
        came: bytes,
        body: bytes,
        state: Mapping[str, Tensor],
        *,
        kept_from: int,
        rows: Rows | None = None,
    ) -> AnswerRecord:
        """Store an answer and the changes to the attacker's state, in one transaction.

        Writes only the tensors that were replaced by another object or written to since the previous batch,
        and only the rows that the batch wrote.

        Args:
            seq: the batch's place in the run.
            came: digest of the body that the provider sent.
            body: the attacked body.
            state: the attacker's state after the batch, without its rows.
            kept_from: answers to batches before this one are deleted.
            rows: the attacker's rows after the batch, if it has any.

        Raises:
            midstream.storage.sqlite.StorageError: the answer could not be stored.
        """
        stored, place = self._stored, self._stored.place
        assert place is not None
        number = max([place.number, *stored.open]) + 1
        found = changes(self._file.run, number, stored, state, rows)
        after = Place(seq + 1, number, found.state, self.resumptions)
        answer = AnswerRecord(number, seq, came, after.described(), body)
        oldest = sorted(stored.open)[: max(0, len(stored.open) + 1 - _OPEN_ANSWERS)]
        surplus = {other: stored.open[other] for other in oldest}
        with self._file.transaction(f"batch {seq}"):
            self._acknowledged.write_along()
            self._file.delete_answers("seq < ? AND number <= ?", kept_from, place.number)
            delete_open(self._file, surplus)
            self._file.insert(answer, found.tensors, found.blocks)
        self._acknowledged.written()
        for other in surplus:
            del stored.open[other]
        stored.open[number] = OpenAnswer(seq, came, after, dict(found.known), found.gone, found.block)
        return answer

    def acknowledge(self, number: int) -> bool:
        """Take the state after an answer as the attacker's; return False if it was acknowledged before.

        The change is written with the next transaction; until then the server can confirm the batch.
        """
        settled = self._stored.acknowledge(number)
        if settled is None:
            return False
        self._incomplete = None in settled.answer.changed.values()
        self._acknowledged.add(settled)
        return True

    def close(self) -> None:
        """Write the acknowledged changes and close the file."""
        try:
            self._acknowledged.write()
        finally:
            self._file.close()
