"""What the server acknowledged, until it is written to the memory's file."""

from collections.abc import Mapping

from midstream_proxy.memory.memory_file import MemoryFile
from midstream_proxy.memory.stored_state import OpenAnswer, Settled, blocks_of, keys_of


class Acknowledged:
    """Acknowledged answers that are not in the file yet; they are written with the next transaction.

    Args:
        file: the attack's memory.
    """

    def __init__(self, file: MemoryFile) -> None:
        self._file = file
        self._settled: list[Settled] = []

    def add(self, settled: Settled) -> None:
        """Add an answer."""
        self._settled.append(settled)

    def write(self) -> None:
        """Write all, in a transaction of their own."""
        if self._settled:
            with self._file.transaction("what the server acknowledged"):
                self.write_along()
            self.written()

    def write_along(self) -> None:
        """Write all, within a transaction; call `written` once it has succeeded."""
        for number, answer, tensors, blocks in self._settled:
            self._file.note("place", answer.place.described())
            self._file.delete_tensors(tensors)
            self._file.delete_blocks(blocks)
            self._file.delete_answers("seq = ? AND number != ?", answer.seq, number)

    def written(self) -> None:
        """Forget the answers, which are in the file now."""
        self._settled.clear()


def delete_open(file: MemoryFile, answers: Mapping[int, OpenAnswer]) -> None:
    """Delete open answers and what they changed, within a transaction."""
    for number in answers:
        file.delete_answers("number = ?", number)
    file.delete_tensors(keys_of(answers))
    file.delete_blocks(blocks_of(answers))
