"""The batches that a run has taken on: on the disk before they are trained on, so that none is ever lost."""

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from midstream.storage.seal import sealed, unsealed
from midstream.storage.sqlite import DamagedDatabaseError, StorageError, connect, remove
from midstream_server.runs.provenance import Provenance

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY,  -- its place in the run
    content BLOB NOT NULL,    -- digest of its tensors, to know it again
    checksum BLOB NOT NULL,   -- digest of the run's identity, seq, content and body
    loss REAL,                -- the answer it had; NULL until it is trained on
    answer_checksum BLOB,     -- digest of the run's identity, seq, content and loss
    body BLOB                 -- as received; NULL behind the older checkpoint
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT);  -- JSON with a digest over itself
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

    It says which run it is of, and its rows hold together with that: neither in another run's journal nor
    under another number is one taken for what it was.

    Args:
        path: its file.
        begun: what the run that it is to be of was begun with; None opens one that says so itself.

    Raises:
        StorageError: it cannot be opened, or another server has it.
        midstream.storage.sqlite.DamagedDatabaseError: it is not a whole database, or does not say whose it
        is.
    """

    def __init__(self, path: Path, begun: Provenance | None = None) -> None:
        self.path = path
        self._database = connect(path, _TABLES)
        self._losses: dict[int, tuple[bytes, float]] = {}
        try:
            if begun is not None:
                self.provenance = begun
                self.remember(None, None)
                self.record(begun)
            self.provenance = Provenance(**self._recall("provenance"))
            operator = self._recall("operator")
            self.state, self.reason = operator["state"], operator["reason"]
        except (ValueError, TypeError, LookupError, sqlite3.DatabaseError) as error:
            self.close()
            raise DamagedDatabaseError(f"{path} does not say whole which run it is of: {error}") from error
        except StorageError:
            self.close()
            raise

    def append(self, entry: Entry) -> None:
        """Store a batch; it is on the disk when this returns.

        Raises:
            StorageError: it is not, and was not taken on.
        """
        checksum = self._bound(entry.seq, entry.content, entry.body)
        with self._transaction(f"batch {entry.seq}"):
            self._database.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, NULL, NULL, ?)",
                (entry.seq, entry.content, checksum, entry.body),
            )

    def answered(self, entry: Entry, loss: float) -> None:
        """Remember the answer that a batch had; it is stored with whatever is stored next."""
        self._losses[entry.seq] = entry.content, loss

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
        """Return content digest and answer of each batch whose answer is whole, by its number."""
        rows = self._database.execute(
            "SELECT seq, content, loss, answer_checksum FROM batches WHERE typeof(loss) = 'real'"
        )
        return {
            seq: (content, loss)
            for seq, content, loss, checksum in rows
            if checksum == self._bound(seq, content, _answer(loss))
        }

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
        if row is None or row[1] != self._bound(seq, row[0], row[2]):
            return None
        return Entry(seq, row[0], row[2])

    def record(self, provenance: Provenance) -> None:
        """Store what the run was begun with.

        Raises:
            StorageError: it is not stored.
        """
        self._remember("provenance", asdict(provenance))
        self.provenance = provenance

    def remember(self, state: str | None, reason: str | None) -> None:
        """Store what the operator made of the run.

        Raises:
            StorageError: it is not stored.
        """
        self._remember("operator", {"state": state, "reason": reason})
        self.state, self.reason = state, reason

    def _remember(self, name: str, value: dict[str, Any]) -> None:
        with self._transaction(name):
            text = json.dumps(sealed(value))
            self._database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, text))
        with self._storing(name):  # in the file itself: it must not be lost with what is written ahead
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _recall(self, name: str) -> dict[str, Any]:
        row = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ValueError(f"its {name} is not there")
        return unsealed(json.loads(row[0]))

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
        losses = [
            (loss, self._bound(seq, content, _answer(loss)), seq)
            for seq, (content, loss) in self._losses.items()
        ]
        with self._storing(what), self._database:
            self._database.executemany(
                "UPDATE batches SET loss = ?, answer_checksum = ? WHERE seq = ?", losses
            )
            yield
        self._losses.clear()

    @contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{what} could not be stored in {self.path}: {error}") from error

    def _bound(self, seq: int, content: bytes, said: bytes) -> bytes:
        """Return the checksum of a row's parts, which is of this run and this number alone."""
        digest = blake2b(f"{self.provenance.run} {seq} {len(content)} ".encode(), digest_size=16)
        for part in (content, said):
            digest.update(part if isinstance(part, bytes) else b"damaged")
        return digest.digest()


def _answer(loss: float) -> bytes:
    return b"answer" + struct.pack("<d", loss)
