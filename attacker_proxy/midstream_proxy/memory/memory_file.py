"""The file that an attacker's memory is kept in: an SQLite database whose every record has a checksum.

A checksum covers the run that the record belongs to, what kind of record it is, the name or the number that
it is found by, and what it holds. So a record that was altered, or that stands in another's place or in
another run's memory, is found out when it is read.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from midstream.storage.sqlite import IN_MEMORY, DamagedDatabaseError, StorageError, connect, is_damage

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY,  -- counts the answers
    seq INTEGER NOT NULL,        -- the batch's place in the run
    came BLOB NOT NULL,          -- digest of the body that the provider sent
    after TEXT NOT NULL,         -- what becomes of the memory once the batch is acknowledged
    checksum BLOB NOT NULL,
    body BLOB NOT NULL,          -- the body that goes on in its place
    UNIQUE (seq, came)
);
CREATE TABLE IF NOT EXISTS tensors (
    name TEXT NOT NULL,
    number INTEGER NOT NULL,     -- the answer after which it holds; 0 at the start
    checksum BLOB NOT NULL,
    value BLOB,                  -- NULL where the state lost it
    PRIMARY KEY (name, number)
);
"""
_EARLIER = "SELECT name FROM sqlite_master WHERE name IN ('begun', 'sent', 'state')"


class AnswerRecord(NamedTuple):
    """One answer.

    Attributes:
        number: counts the answers.
        seq: the batch's place in the run.
        came: digest of the body that the provider sent.
        after: what becomes of the memory once the batch is acknowledged.
        body: the body that goes on in its place.
    """

    number: int
    seq: int
    came: bytes
    after: dict[str, Any]
    body: bytes


class TensorRecord(NamedTuple):
    """One tensor of the attacker's state.

    Attributes:
        name: its name in the state.
        number: the answer after which it holds; 0 at the start.
        checksum: of the record.
        value: the tensor, encoded; None where the state lost it.
    """

    name: str
    number: int
    checksum: int
    value: bytes | None


class MemoryFile:
    """The records of one attack; used by one thread at a time.

    Args:
        path: the file; `midstream.storage.sqlite.IN_MEMORY` for one that nothing survives.

    Attributes:
        run: identity of the run that the records belong to, once `about` told it or a caller set it.

    Raises:
        StorageError: it cannot be opened, or another proxy has it.
        DamagedDatabaseError: it is not a whole database, or an earlier version of midstream wrote it.
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
            raise DamagedDatabaseError(f"{path} was written by an earlier midstream, without checksums")

    def about(self, name: str) -> dict[str, Any] | None:
        """Return what was noted under a name, or None; what tells `run` is read first."""
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

    def note(self, name: str, value: Mapping[str, Any]) -> None:
        """Note something under a name, within a transaction."""
        text = json.dumps(value)
        row = (name, text, checksum(self.run, "about", name, text))
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?, ?)", row)

    def answer(self, seq: int, came: bytes) -> AnswerRecord | None:
        """Return the answer to one batch, or None where there is none."""
        return next(self._answers("WHERE seq = ? AND came = ?", (seq, came)), None)

    def answers(self) -> Iterator[AnswerRecord]:
        """Return every answer, in the order in which they were given."""
        return self._answers("ORDER BY number", ())

    def _answers(self, which: str, values: tuple[Any, ...]) -> Iterator[AnswerRecord]:
        columns = "number, seq, came, after, body, checksum"
        with self._in_words("read"):
            for *content, found in self._database.execute(f"SELECT {columns} FROM answers {which}", values):
                number, seq, came, after, body = content
                what = f"its answer to batch {seq}"
                self._compare(found, checksum(self.run, "answer", *content), what)
                yield AnswerRecord(number, seq, came, self._json(after, what), body)

    def tensors(self, names: Iterable[str] | None = None) -> Iterator[TensorRecord]:
        """Return the records of some tensors, or of all."""
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

    def insert(self, answer: AnswerRecord | None, tensors: Iterable[TensorRecord]) -> None:
        """Add an answer and the tensors that hold after it, within a transaction."""
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

    def delete_tensors(self, keys: Iterable[tuple[str, int]]) -> None:
        """Delete tensors by name and number, within a transaction."""
        self._database.executemany("DELETE FROM tensors WHERE name = ? AND number = ?", keys)

    def delete_answers(self, which: str, *values: int) -> None:
        """Delete the answers of which an SQL condition holds, within a transaction."""
        self._database.execute(f"DELETE FROM answers WHERE {which}", values)

    def forget(self) -> None:
        """Delete everything."""
        with self.transaction("that another run begins"):
            for table in ("about", "answers", "tensors"):
                self._database.execute(f"DELETE FROM {table}")
        self.run = ""

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """Write what is written in this context whole or not at all.

        Raises:
            StorageError: it could not be stored.
            DamagedDatabaseError: the file is damaged.
        """
        with self._in_words(f"take {what}"), self._database:
            yield

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def damaged(self, what: str) -> DamagedDatabaseError:
        """Return the error that says what in this file is not as it was written."""
        return DamagedDatabaseError(f"{self.path} is damaged: {what}")

    def _compare(self, found: object, wanted: bytes, what: str) -> None:
        if found != wanted:
            raise self.damaged(f"{what} does not fit its checksum")

    def _json(self, text: str, what: str) -> dict[str, Any]:
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


def checksum(run: str, *parts: str | int | bytes | None) -> bytes:
    """Return a digest of a record's parts, each with its kind and length, bound to a run."""
    lengths = [len(part) if isinstance(part, bytes) else [part] for part in parts]
    digest = blake2b(repr((run, lengths)).encode(), digest_size=16)
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
    return digest.digest()
