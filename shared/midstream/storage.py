"""SQLite as the services use it: what has been committed survives whatever becomes of the process."""

import sqlite3
from pathlib import Path

IN_MEMORY = Path(":memory:")

_PATIENCE = 3.0  # seconds that a process which is about to end may still take with a file
_FILES = ("", "-wal", "-shm")


class StorageError(OSError):
    """Something could not be stored; the message says what and why."""


class DamagedDatabaseError(RuntimeError):
    """A database that does not hold what was written."""


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
    except sqlite3.OperationalError as error:
        database.close()
        if "locked" in str(error):
            raise StorageError(f"{path} is in use by another process; let one of them end") from error
        raise StorageError(f"{path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        database.close()
        raise DamagedDatabaseError(f"{path} is damaged: {error}") from error
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
