"""The file of an attack's memory: an SQLite database with a checksum for each record.

The checksum covers the record's run, kind, key and content. So reading detects a record that was altered,
moved to another key, or copied from another run's memory.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from midstream.storage.sqlite import IN_MEMORY, DamagedDatabaseError, StorageError, connect, is_damage
from midstream_proxy.memory.records import AnswerRecord, BlockRecord, TensorRecord, checksum

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY,  -- counts the answers
    seq INTEGER NOT NULL,        -- the batch's place in the run
    came BLOB NOT NULL,          -- digest of the body that the provider sent
    after TEXT NOT NULL,         -- where the memory stands once the batch is acknowledged
    checksum BLOB NOT NULL,
    body BLOB NOT NULL,          -- the attacked body
    UNIQUE (seq, came)
);
CREATE TABLE IF NOT EXISTS tensors (
    name TEXT NOT NULL,
    number INTEGER NOT NULL,     -- the answer after which it is valid; 0 at the start
    checksum BLOB NOT NULL,
    value BLOB,                  -- NULL if the state no longer has it
    PRIMARY KEY (name, number)
);
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY,  -- the answer after which its rows are valid; 0 at the start
    checksum BLOB NOT NULL,
    keys BLOB NOT NULL,          -- the content keys of the rows, 16 bytes each
    value BLOB NOT NULL          -- the rows
);
"""
_EARLIER = "SELECT name FROM sqlite_master WHERE name IN ('begun', 'sent', 'state')"


class MemoryFile:
    """The records of one attack; use it from one thread at a time.

    Args:
        path: the file; `midstream.storage.sqlite.IN_MEMORY` for a memory that ends with this process.

    Attributes:
        run: identity of the run that the records belong to, once `about` has read it or a caller has set it.

    Raises:
        StorageError: the file cannot be opened, or another proxy uses it.
        DamagedDatabaseError: the file is no complete database, or an earlier midstream wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = ""
        if path != IN_MEMORY:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"{path.parent} cannot be made: {error}") from error
        self._database = connect(path, _TABLES)
        self._database.text_factory = lambda text: text.decode(errors="replace")  # damage, for the checksum
        with self._in_words("read"):
            earlier = self._database.execute(_EARLIER).fetchall()
        if earlier:
            self.close()
            raise self.written_earlier("without checksums")

    def about(self, name: str) -> dict[str, Any] | None:
        """Return the value stored under a name, or None; read the one with `run` first."""
        with self._in_words("read"):
            row = self._database.execute(
                "SELECT value, checksum FROM about WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            return None
        value = self._json(row[0], f"its record {name!r}")
        self.run = self.run or str(value.get("run", ""))
        self._compare(row[1], checksum(self.run, "about", name, row[0]), f"its record {name!r}")
        return value

    def note(self, name: str, value: Mapping[str, object]) -> None:
        """Store a value under a name, within a transaction."""
        text = json.dumps(value)
        row = (name, text, checksum(self.run, "about", name, text))
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?, ?)", row)

    def answer(self, seq: int, came: bytes) -> AnswerRecord | None:
        """Return the answer to one batch, or None if there is none."""
        return next(self._answers("WHERE seq = ? AND came = ?", (seq, came)), None)

    def answers(self) -> Iterator[AnswerRecord]:
        """Return all answers, in order."""
        return self._answers("ORDER BY number", ())

    def _answers(self, which: str, values: tuple[object, ...]) -> Iterator[AnswerRecord]:
        columns = "number, seq, came, after, body, checksum"
        with self._in_words("read"):
            for *content, found in self._database.execute(f"SELECT {columns} FROM answers {which}", values):
                number, seq, came, after, body = content
                what = f"its answer to batch {seq}"
                self._compare(found, checksum(self.run, "answer", *content), what)
                yield AnswerRecord(number, seq, came, self._json(after, what), body)

    def tensors(self, names: Iterable[str] | None = None) -> Iterator[TensorRecord]:
        """Return the records of the named tensors, or of all."""
        columns = "SELECT name, number, value, checksum FROM tensors"
        with self._in_words("read"):
            if names is None:
                rows: Iterable[Any] = self._database.execute(columns)
            else:
                where = f"{columns} WHERE name = ?"
                rows = (row for name in names for row in self._database.execute(where, (name,)))
            for name, number, value, found in rows:
                what = f"the attacker's {name!r}"
                self._compare(found, checksum(self.run, "tensor", name, number, value), what)
                yield TensorRecord(name, number, int.from_bytes(found), value)

    def blocks(self, *, after: int = -1, until: int | None = None) -> Iterator[BlockRecord]:
        """Return the blocks of rows that were written after an answer, until another one, in order."""
        which = "WHERE number > ? AND (number <= ? OR ?)"
        columns = f"SELECT number, keys, value, checksum FROM blocks {which} ORDER BY number"
        with self._in_words("read"):
            rows = self._database.execute(columns, (after, until, until is None))
            for number, keys, value, found in rows:
                what = f"the attacker's rows after answer {number}"
                self._compare(found, checksum(self.run, "block", number, keys, value), what)
                yield BlockRecord(number, int.from_bytes(found), keys, value)

    def insert(
        self,
        answer: AnswerRecord | None,
        tensors: Iterable[TensorRecord],
        blocks: Iterable[BlockRecord] = (),
    ) -> None:
        """Add an answer, and the tensors and rows that are valid after it, within a transaction."""
        if answer is not None:
            after = json.dumps(answer.after)
            found = checksum(self.run, "answer", answer.number, answer.seq, answer.came, after, answer.body)
            self._database.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                (answer.number, answer.seq, answer.came, after, found, answer.body),
            )
        self._database.executemany(
            "INSERT INTO tensors VALUES (?, ?, ?, ?)",
            ((name, number, found.to_bytes(16), value) for name, number, found, value in tensors),
        )
        self._database.executemany(
            "INSERT INTO blocks VALUES (?, ?, ?, ?)",
            ((number, found.to_bytes(16), keys, value) for number, found, keys, value in blocks),
        )

    def delete_tensors(self, keys: Iterable[tuple[str, int]]) -> None:
        """Delete tensors by name and number, within a transaction."""
        self._database.executemany("DELETE FROM tensors WHERE name = ? AND number = ?", keys)

    def delete_blocks(self, numbers: Iterable[int]) -> None:
        """Delete blocks of rows by number, within a transaction."""
        self._database.executemany("DELETE FROM blocks WHERE number = ?", ((number,) for number in numbers))

    def delete_answers(self, which: str, *values: int) -> None:
        """Delete the answers that meet an SQL condition, within a transaction."""
        self._database.execute(f"DELETE FROM answers WHERE {which}", values)

    def forget(self) -> None:
        """Delete everything."""
        with self.transaction("that another run begins"):
            for table in ("about", "answers", "tensors", "blocks"):
                self._database.execute(f"DELETE FROM {table}")
        self.run = ""

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """Make all writes in this context one transaction.

        Raises:
            StorageError: the transaction failed.
            DamagedDatabaseError: the file is damaged.
        """
        with self._in_words(f"take {what}"), self._database:
            yield

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def damaged(self, what: str) -> DamagedDatabaseError:
        """Return an error that says which part of this file is damaged."""
        return DamagedDatabaseError(f"{self.path} is damaged: {what}")

    def written_earlier(self, how: str) -> DamagedDatabaseError:
        """Return an error that says that this file has an earlier format."""
        return DamagedDatabaseError(f"{self.path} was written by an earlier midstream, {how}")

    def _compare(self, found: object, wanted: bytes, what: str) -> None:
        if found != wanted:
            raise self.damaged(f"{what} does not fit its checksum")

    def _json(self, text: str, what: str) -> dict[str, object]:
        try:
            value = json.loads(text)
        except (ValueError, TypeError) as error:
            raise self.damaged(f"{what} cannot be read") from error
        if not isinstance(value, dict):
            raise self.damaged(f"{what} cannot be read")
        return value

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error, self.path):
                raise self.damaged(str(error)) from error
            raise StorageError(f"{self.path} cannot {what}: {error}") from error
