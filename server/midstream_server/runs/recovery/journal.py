"""The journal of a run: every batch is on disk before a step is taken on it, so none is ever lost."""

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
from midstream_server.runs.recovery.provenance import Provenance

_LOG_BYTES = 16 * 2**20

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY,  -- the batch's number
    content BLOB NOT NULL,    -- digest of its tensors, to recognise it when it is sent again
    checksum BLOB NOT NULL,   -- digest of the run's identity, seq, content and body
    loss REAL,                -- the acknowledged loss; NULL until it is trained on
    answer_checksum BLOB,     -- digest of the run's identity, seq, content and loss
    body BLOB                 -- as received; NULL before the older checkpoint
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT);  -- JSON that includes its own digest
"""


@dataclass(frozen=True)
class Entry:
    """One batch of the journal.

    Attributes:
        seq: the batch's number.
        content: digest of its tensors.
        body: its bytes, as received.
    """

    seq: int
    content: bytes
    body: bytes


class Journal:
    """The journal of one run, an SQLite database; used by one thread at a time.

    The journal stores the run's identity, and the checksum of each row covers it. A row that was copied from
    another run's journal or renumbered is therefore detected.

    Args:
        path: the database file.
        begun: provenance of a new run; None opens an existing journal and reads the provenance from it.

    Raises:
        StorageError: the journal cannot be opened, or another server has it open.
        midstream.storage.sqlite.DamagedDatabaseError: the database is damaged, or does not name its run.
    """

    def __init__(self, path: Path, begun: Provenance | None = None) -> None:
        self.path = path
        self._database = connect(path, _TABLES)
        self._database.execute("PRAGMA wal_autocheckpoint = 0")  # see `fold`
        self._losses: dict[int, tuple[bytes, float]] = {}
        self._logged = 0
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
            raise DamagedDatabaseError(f"{path} does not identify its run: {error}") from error
        except StorageError:
            self.close()
            raise

    def append(self, entry: Entry) -> None:
        """Store a batch; it is on disk when this returns.

        Raises:
            StorageError: it could not be stored, and was not accepted.
        """
        checksum = self._bound(entry.seq, entry.content, entry.body)
        with self._transaction(f"batch {entry.seq}"):
            self._database.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, NULL, NULL, ?)",
                (entry.seq, entry.content, checksum, entry.body),
            )
        self._logged += len(entry.body)

    def fold(self) -> None:
        """Move the batches from SQLite's write-ahead log to the main file, if the log has grown long.

        They are on disk either way. By itself, SQLite would do this in `append`, which a provider waits for.

        Raises:
            StorageError: the disk is full; nothing is lost, and the next call tries again.
        """
        if self._logged >= _LOG_BYTES:
            with self._storing("the write-ahead log"):
                self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._logged = 0

    def answered(self, entry: Entry, loss: float) -> None:
        """Remember the loss that a batch was acknowledged with; the next transaction stores it."""
        self._losses[entry.seq] = entry.content, loss

    def drop(self, seq: int) -> None:
        """Delete a batch and all batches after it, as if they had never arrived."""
        with self._transaction(f"that batch {seq} was not taken"):
            self._database.execute("DELETE FROM batches WHERE seq >= ?", (seq,))

    def trim(self, before: int) -> None:
        """Delete the bodies of all batches before one; their acknowledgements stay."""
        with self._transaction("the removal of bodies that the checkpoint replaced"):
            self._database.execute(
                "UPDATE batches SET body = NULL WHERE seq < ? AND body IS NOT NULL", (before,)
            )

    def answers(self) -> dict[int, tuple[bytes, float]]:
        """Return content digest and loss of each batch whose acknowledgement is intact, by batch number."""
        rows = self._database.execute(
            "SELECT seq, content, loss, answer_checksum FROM batches WHERE typeof(loss) = 'real'"
        )
        return {
            seq: (content, loss)
            for seq, content, loss, checksum in rows
            if checksum == self._bound(seq, content, _answer(loss))
        }

    def trimmed(self) -> int:
        """Return the number of the first batch after the deleted bodies; 0 if none was deleted."""
        rows = self._database.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM batches WHERE body IS NULL")
        return int(rows.fetchone()[0])

    def length(self) -> int:
        """Return the number of the batch to be appended next; 0 if the journal is empty."""
        return int(self._database.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM batches").fetchone()[0])

    def entry(self, seq: int) -> Entry | None:
        """Return one batch, or None if it is missing or damaged."""
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
        """Store the run's provenance.

        Raises:
            StorageError: it could not be stored.
        """
        self._remember("provenance", asdict(provenance))
        self.provenance = provenance

    def remember(self, state: str | None, reason: str | None) -> None:
        """Store the state that the operator set.

        Raises:
            StorageError: it could not be stored.
        """
        self._remember("operator", {"state": state, "reason": reason})
        self.state, self.reason = state, reason

    def _remember(self, name: str, value: dict[str, object]) -> None:
        with self._transaction(name):
            text = json.dumps(sealed(value))
            self._database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, text))
        with self._storing(name):  # move it to the main file: it must survive the loss of the write-ahead log
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _recall(self, name: str) -> dict[str, Any]:
        row = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ValueError(f"its {name} is missing")
        return unsealed(json.loads(row[0]))

    def shrink(self) -> None:
        """Return the space of deleted bodies to the disk."""
        with self._storing("the compacted journal"):
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
        """Return the checksum of a row's parts, bound to this run and this batch number."""
        digest = blake2b(f"{self.provenance.run} {seq} {len(content)} ".encode(), digest_size=16)
        for part in (content, said):
            digest.update(part if isinstance(part, bytes) else b"damaged")
        return digest.digest()


def _answer(loss: float) -> bytes:
    return b"answer" + struct.pack("<d", loss)
