"""The batches that a run has taken on: on the disk before they are trained on, so that none is ever lost."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from midstream.storage import StorageError, connect, remove

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY,  -- its place in the run
    content BLOB NOT NULL,    -- digest of its tensors, to know it again
    loss REAL,                -- the answer it had; NULL until it is trained on
    checksum BLOB NOT NULL,   -- digest of the body
    body BLOB                 -- as received; NULL behind the older checkpoint
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT);
"""


@dataclass(frozen=True)
class Entry:
    """One batch of the journal.

    Attributes:
        seq: its place in the run.
        content: digest of its tensors.
        body: as it was received.
    """

    seq: int
    content: bytes
    body: bytes


class Journal:
    """The journal of one run, an SQLite database; used by one thread at a time.

    Args:
        path: its file.

    Raises:
        StorageError: it cannot be opened, or another server has it.
        midstream.storage.DamagedDatabaseError: it is not a whole database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = connect(path, _TABLES)
        self._losses: dict[int, float] = {}

    def append(self, entry: Entry) -> None:
        """Store a batch; it is on the disk when this returns.

        Raises:
            StorageError: it is not, and was not taken on.
        """
        checksum = _checksum(entry.body)
        with self._transaction(f"batch {entry.seq}"):
            self._database.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, NULL, ?, ?)",
                (entry.seq, entry.content, checksum, entry.body),
            )

    def answered(self, seq: int, loss: float) -> None:
        """Remember the answer that a batch had; it is stored with whatever is stored next."""
        self._losses[seq] = loss

    def drop(self, seq: int) -> None:
        """Forget a batch, and those after it, as if they had never come."""
        with self._transaction(f"that batch {seq} was not taken"):
            self._database.execute("DELETE FROM batches WHERE seq >= ?", (seq,))

    def trim(self, before: int) -> None:
        """Delete the bodies of the batches before one; their answers are kept."""
        with self._transaction("what the checkpoint made superfluous"):
            self._database.execute(
                "UPDATE batches SET body = NULL WHERE seq < ? AND body IS NOT NULL", (before,)
            )

    def answers(self) -> dict[int, tuple[bytes, float]]:
        """Return content digest and answer of each batch that has one, by its number."""
        rows = self._database.execute("SELECT seq, content, loss FROM batches WHERE loss IS NOT NULL")
        return {seq: (content, loss) for seq, content, loss in rows}

    def trimmed(self) -> int:
        """Return the number of the first batch whose body is still there, as far as bodies were deleted."""
        rows = self._database.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM batches WHERE body IS NULL")
        return int(rows.fetchone()[0])

    def length(self) -> int:
        """Return the number of the batch that would be appended next; 0 where there is none."""
        return int(self._database.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM batches").fetchone()[0])

    def entry(self, seq: int) -> Entry | None:
        """Return one batch, or None where it is not there or is not what was stored."""
        try:
            row = self._database.execute(
                "SELECT content, checksum, body FROM batches WHERE seq = ? AND body IS NOT NULL", (seq,)
            ).fetchone()
        except sqlite3.DatabaseError:
            return None
        return Entry(seq, row[0], row[2]) if row and _checksum(row[2]) == row[1] else None

    def remember(self, name: str, value: str | None) -> None:
        """Store a word on the run; None forgets it."""
        with self._transaction(name):
            self._database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        """Return a word that was stored on the run, or None."""
        row = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def shrink(self) -> None:
        """Give the disk back what the deleted bodies took."""
        with self._storing("the journal, smaller,"):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def delete(self) -> None:
        """Close the file and delete it: the run is over."""
        self.close()
        remove(self.path)

    @contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        losses = [(loss, seq) for seq, loss in self._losses.items()]
        with self._storing(what), self._database:
            self._database.executemany("UPDATE batches SET loss = ? WHERE seq = ?", losses)
            yield
        self._losses.clear()

    @contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{what} could not be stored in {self.path}: {error}") from error


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
