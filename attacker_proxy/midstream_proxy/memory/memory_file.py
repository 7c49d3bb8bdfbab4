"""The file of an attack's memory: an SQLite database with a checksum for each record.

The checksum covers the record's run, kind, key and content. So reading detects a record that was altered,
moved to another key, or copied from another run's memory.
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
"""
_EARLIER = "SELECT name FROM sqlite_master WHERE name IN ('begun', 'sent', 'state')"


class AnswerRecord(NamedTuple):
    """One answer.

    Attributes:
        number: counts the answers.
        seq: the batch's place in the run.
        came: digest of the body that the provider sent.
        after: where the memory stands once the batch is acknowledged.
        body: the attacked body.
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
        number: the answer after which it is valid; 0 at the start.
        checksum: the record's checksum.
        value: the encoded tensor; None if the state no longer has it.
    """

    name: str
    number: int
    checksum: int
    value: bytes | None


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
            raise DamagedDatabaseError(f"{path} was written by an earlier midstream, without checksums")

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

    def note(self, name: str, value: Mapping[str, Any]) -> None:
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

    def _answers(self, which: str, values: tuple[Any, ...]) -> Iterator[AnswerRecord]:
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

    def insert(self, answer: AnswerRecord | None, tensors: Iterable[TensorRecord]) -> None:
        """Add an answer and the tensors that are valid after it, within a transaction."""
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
        """Delete the answers that meet an SQL condition, within a transaction."""
        self._database.execute(f"DELETE FROM answers WHERE {which}", values)

    def forget(self) -> None:
        """Delete everything."""
        with self.transaction("that another run begins"):
            for table in ("about", "answers", "tensors"):
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
    """Return a digest of a run's identity and a record's parts, with their types and lengths."""
    lengths = [len(part) if isinstance(part, bytes) else [part] for part in parts]
    digest = blake2b(repr((run, lengths)).encode(), digest_size=16)
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
    return digest.digest()
