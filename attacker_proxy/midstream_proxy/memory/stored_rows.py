"""The rows of an attacker's state in its memory's file: one block for each answer."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import safetensors.torch
from torch import Tensor

from midstream.mathematics.inputs.content_keys import KEY_BYTES
from midstream.mathematics.inputs.rows import Rows
from midstream_proxy.memory.memory_file import MemoryFile
from midstream_proxy.memory.records import BlockRecord, checksum


class Block(NamedTuple):
    """The rows that one answer wrote, without their values.

    Attributes:
        number: the answer.
        keys: the content keys of the rows.
        checksum: the checksum of the record.
    """

    number: int
    keys: Sequence[bytes]
    checksum: int

    @classmethod
    def of(cls, record: BlockRecord) -> "Block":
        """Return the block of a record."""
        starts = range(0, len(record.keys), KEY_BYTES)
        keys = [record.keys[start : start + KEY_BYTES] for start in starts]
        return cls(record.number, keys, record.checksum)


class Blocks:
    """Knows which block holds the current row of each input, and which blocks hold none any more."""

    def __init__(self) -> None:
        self.checksums: dict[int, int] = {}
        """Checksums of the blocks that hold a current row, by number."""
        self._holder: dict[bytes, int] = {}
        self._rows: Counter[int] = Counter()

    def held(self) -> Collection[bytes]:
        """Return the content keys of all rows."""
        return self._holder.keys()

    def emptied_by(self, keys: Sequence[bytes]) -> list[int]:
        """Return the blocks that hold no current row once these keys are written to a new block."""
        moved = Counter(self._holder[key] for key in keys if key in self._holder)
        return [number for number, count in moved.items() if self._rows[number] == count]

    def take(self, block: Block) -> list[int]:
        """Make the rows of a block current; return the blocks that it empties."""
        emptied = self.emptied_by(block.keys)
        for key in block.keys:
            if key in self._holder:
                self._rows[self._holder[key]] -= 1
            self._holder[key] = block.number
        self._rows[block.number] = len(block.keys)
        self.checksums[block.number] = block.checksum
        for number in emptied:
            del self.checksums[number], self._rows[number]
        return emptied

    def change_by(self, block: Block) -> int:
        """Return the exclusive or of the checksums that come and go when a block becomes current."""
        change = block.checksum
        for number in self.emptied_by(block.keys):
            change ^= self.checksums[number]
        return change


class FollowedRows:
    """The rows of a player, brought to what the file holds of them.

    Args:
        file: the attack's memory.
    """

    def __init__(self, file: MemoryFile) -> None:
        self._file = file
        self._rows: Rows | None = None
        self._at = -1

    def mark(self, rows: Rows, number: int) -> None:
        """Take the player's present rows as those after an answer."""
        rows.mark()
        self._rows, self._at = rows, number

    def rewind(self, rows: Rows, number: int) -> None:
        """Bring a player's rows to what they were after an answer, the last that was acknowledged.

        What the player wrote since the last mark is undone. Only blocks that were acknowledged since then are
        read; for an object that was not followed before, all of them.
        """
        if rows is self._rows and self._at <= number:
            rows.back()
        else:
            rows.clear()
            self._at = -1
        for record in self._file.blocks(after=self._at, until=number):
            keys, values = Block.of(record).keys, safetensors.torch.load(record.value)["rows"]
            if values.numel() == 0:
                rows.forget(keys)
            else:
                rows.put(keys, values)
        self.mark(rows, number)


def block_record(run: str, number: int, keys: Sequence[bytes], values: Tensor) -> BlockRecord:
    """Return the record of the rows that an answer wrote."""
    joined = b"".join(keys)
    value = safetensors.torch.save({"rows": values.detach().cpu().contiguous()})
    found = checksum(run, "block", number, joined, value)
    return BlockRecord(number, int.from_bytes(found), joined, value)
