"""Damages to a run's files while no server uses them."""

import os
from collections.abc import Callable
from pathlib import Path


def _flip(path: Path) -> bool:
    if not path.exists() or path.stat().st_size < 1024:
        return False
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 2 // 3)
        found = file.read(64)
        file.seek(-len(found), os.SEEK_CUR)
        file.write(bytes(255 - byte for byte in found))
    return True


def _shorten(path: Path) -> bool:
    if not path.exists() or path.stat().st_size < 1024:
        return False
    os.truncate(path, path.stat().st_size * 2 // 3)
    return True


def _newest_checkpoint(damage: Callable[[Path], bool]) -> Callable[[Path], bool]:
    def apply(folder: Path) -> bool:
        # Without another checkpoint the run could not continue, and no guarantee covers that.
        older = folder / "checkpoint.previous.safetensors"
        return older.exists() and damage(folder / "checkpoint.safetensors")

    return apply


DAMAGES: dict[str, Callable[[Path], bool]] = {
    "checkpoint altered": _newest_checkpoint(_flip),
    "checkpoint truncated": _newest_checkpoint(_shorten),
    "journal altered": lambda folder: _flip(folder / "journal.sqlite"),
    "journal truncated": lambda folder: _shorten(folder / "journal.sqlite"),
    "journal's tail altered": lambda folder: _flip(folder / "journal.sqlite-wal"),
    "journal's tail truncated": lambda folder: _shorten(folder / "journal.sqlite-wal"),
}
"""Damages by name: a function of the run folder that returns whether there was something to damage."""
