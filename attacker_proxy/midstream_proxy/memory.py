"""What an attacker must remember of a run: the answers it gave, and its own state after the last of them."""

import json
import sqlite3
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from midstream.storage import IN_MEMORY, StorageError, connect

_TABLES = """
CREATE TABLE IF NOT EXISTS sent (
    seq INTEGER PRIMARY KEY,  -- the batch's place in the run
    came BLOB NOT NULL,       -- digest of the body that the provider sent
    body BLOB NOT NULL        -- the body that went on in its place
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS begun (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class AttackMemory:
    """The memory of one attack, an SQLite database; used by one thread at a time.

    The attacked batch and the attacker's state after it are stored together, before the batch goes on:
    whatever becomes of this process, a batch that is sent again has the very same bytes, and the next one
    meets the attacker as it was.

    Args:
        path: its file; `midstream.storage.IN_MEMORY` for one that nothing survives.

    Raises:
        StorageError: it cannot be opened, or another proxy has it.
        midstream.storage.DamagedDatabaseError: it is not a whole database.
    """

    def __init__(self, path: Path = IN_MEMORY) -> None:
        self.path = path
        if path != IN_MEMORY:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._database = connect(path, _TABLES)
        self._stored: dict[str, tuple[Tensor, int]] = {}

    def begin(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the attack that is remembered was begun, which is now where there is none.

        Args:
            description: everything that the attack depends on.
        """
        rows = self._database.execute("SELECT name, value FROM begun").fetchall()
        if rows:
            return {name: json.loads(value) for name, value in rows}
        with self._database:
            values = [(name, json.dumps(value)) for name, value in description.items()]
            self._database.executemany("INSERT INTO begun VALUES (?, ?)", values)
        return dict(description)

    def record(self, description: Mapping[str, Any], differences: list[str]) -> None:
        """Store that the attack goes on otherwise than it was begun."""
        earlier = self.begin(description).get("resumed_with", [])
        values = {**description, "resumed_with": [*earlier, differences]}
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO begun VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in values.items()],
            )

    def forget(self) -> None:
        """Forget everything."""
        with self._database:
            for table in ("sent", "state", "begun"):
                self._database.execute(f"DELETE FROM {table}")
        self._stored.clear()

    def sent(self, seq: int, came: bytes) -> bytes | None:
        """Return the body that went on in place of another, or None where that has not come yet."""
        row = self._database.execute(
            "SELECT body FROM sent WHERE seq = ? AND came = ?", (seq, _digest(came))
        ).fetchone()
        return row[0] if row else None

    def state(self) -> dict[str, Tensor]:
        """Return the attacker's state after the last batch that was stored."""
        rows = self._database.execute("SELECT name, value FROM state")
        found = {name: safetensors.torch.load(value)["value"] for name, value in rows}
        self._stored = {name: (tensor, tensor._version) for name, tensor in found.items()}
        return found

    def store(
        self, seq: int, came: bytes, body: bytes, state: Mapping[str, Tensor], *, kept_from: int
    ) -> None:
        """Store an answer and the attacker's state after it, whole or not at all.

        Of the state only the tensors that changed are written: those that are other objects than the last
        time, or were written to since.

        Args:
            seq: the batch's place in the run.
            came: the body that the provider sent.
            body: the body that goes on.
            state: the attacker's state after it.
            kept_from: answers before this batch are deleted.

        Raises:
            StorageError: it could not be stored.
        """
        changed = {
            name: value
            for name, value in state.items()
            if (known := self._stored.get(name)) is None
            or known[0] is not value
            or known[1] != value._version
        }
        gone = [(name,) for name in self._stored.keys() - state.keys()]
        values = [(name, _encode(value)) for name, value in changed.items()]
        try:
            with self._database:
                self._database.execute("DELETE FROM sent WHERE seq < ?", (kept_from,))
                self._database.execute(
                    "INSERT OR REPLACE INTO sent VALUES (?, ?, ?)", (seq, _digest(came), body)
                )
                self._database.executemany("DELETE FROM state WHERE name = ?", gone)
                self._database.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values)
        except sqlite3.Error as error:
            raise StorageError(f"batch {seq} could not be stored in {self.path}: {error}") from error
        for (name,) in gone:
            del self._stored[name]
        self._stored |= {name: (value, value._version) for name, value in changed.items()}

    def _is_stored(self, name: str, value: Tensor) -> bool:
        known = self._stored.get(name)
        return known is not None and known[0] is value and known[1] == value._version

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _encode(tensor: Tensor) -> bytes:
    return safetensors.torch.save({"value": tensor.detach().cpu().contiguous()})


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
