"""SQLite as the services use it: what has been committed survives whatever becomes of the process."""

import os
import sqlite3
from pathlib import Path

from midstream.errors import MidstreamError

IN_MEMORY = Path(":memory:")

_PATIENCE = 3.0  # seconds that a process which is about to end may still take with a file
_FILES = ("", "-wal", "-shm")


class StorageError(MidstreamError, OSError):
    """Something could not be stored; the message says what and why."""


class DamagedDatabaseError(MidstreamError, RuntimeError):
    """A database that does not hold what was written."""


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
    """Return whether an error of SQLite says that a file is damaged, rather than that it cannot be used now.

    SQLite has one code for damage that it recognises, and others for what damage looks like: a table or a
    column that is not there, a file format that it does not know, a file that says of itself that it cannot
    be written to although it can.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        return path.exists() and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code not in _PASSING | {sqlite3.SQLITE_MISUSE}


def connect(path: Path, tables: str) -> sqlite3.Connection:
    """Return a connection to a database of one process, whose commits are on the disk when they return.

    Args:
        path: its file, which is made where there is none; `IN_MEMORY` for one that nothing survives.
        tables: SQL that makes the tables that are not there yet.

    Raises:
        StorageError: the file cannot be opened, or another process has it.
        DamagedDatabaseError: it is not a whole database.
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
            raise StorageError(f"{path} is in use by another process; let one of them end") from error
        raise StorageError(f"{path} cannot be used: {error}") from error
    except DamagedDatabaseError:
        database.close()
        raise
    return database


def remove(path: Path) -> None:
    """Delete a database that is closed, and what belongs to it."""
    for suffix in _FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged database and what belongs to it; return its new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in _FILES:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside
