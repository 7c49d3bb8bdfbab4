"""SQLite connections for the services. Committed data survive a crash of the process."""

import os
import sqlite3
from pathlib import Path

from midstream.errors import MidstreamError

IN_MEMORY = Path(":memory:")

_PATIENCE = 3.0  # seconds to wait for an ending process to release the file
_FILES = ("", "-wal", "-shm")


class StorageError(MidstreamError, OSError):
    """Data could not be stored; the message names the file and the reason."""


class DamagedDatabaseError(MidstreamError, RuntimeError):
    """A database is damaged: it does not hold what was written."""


_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """Return whether an SQLite error means that the file is damaged, not just unusable at the moment.

    SQLite has one error code for damage that it recognises. Damage also shows as other errors: a missing
    table or column, an unknown file format, or a file marked read-only that is in fact writable.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        return path.exists() and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code not in _PASSING | {sqlite3.SQLITE_MISUSE}


def connect(path: Path, tables: str) -> sqlite3.Connection:
    """Connect to a database exclusively. A commit returns only after its data are on disk.

    Args:
        path: the file, created if missing; `IN_MEMORY` for a database without a file.
        tables: SQL that creates missing tables.

    Raises:
        StorageError: the file cannot be opened, or another process uses it.
        DamagedDatabaseError: the database is damaged.
    """
    try:
        database = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error
    try:
        database.execute("PRAGMA page_size = 16384")  # minibatches are large
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise DamagedDatabaseError(f"{path} is damaged: {found}")
        database.executescript(f"BEGIN IMMEDIATE; {tables} COMMIT;")
    except sqlite3.Error as error:
        database.close()
        if is_damage(error, path):
            raise DamagedDatabaseError(f"{path} is damaged: {error}") from error
        if "locked" in str(error):
            raise StorageError(f"{path} is in use by another process; stop one of the two") from error
        raise StorageError(f"{path} cannot be used: {error}") from error
    except DamagedDatabaseError:
        database.close()
        raise
    return database


def remove(path: Path) -> None:
    """Delete a closed database and its auxiliary files."""
    for suffix in _FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged database and its auxiliary files; return the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in _FILES:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside
