"""A run folder that one process holds, so that no other one plays the same game."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from midstream.command.games.game import GameError


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process until the context is left, or the process ends.

    Raises:
        GameError: another process holds it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        flock(opened, LOCK_EX | LOCK_NB)
    except BlockingIOError as error:
        os.close(opened)
        raise GameError(
            f"another process plays the game in {folder}; wait for it, or choose another --run"
        ) from error
    try:
        yield
    finally:
        os.close(opened)
