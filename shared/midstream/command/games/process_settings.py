"""What a game in this process sets for the whole process while it is open: its threads and its precision."""

from typing import ClassVar

import torch

from midstream.run.process.precision import Setting, restore, setting


class ProcessSettings:
    """The threads and the precision of one game; other games that are open in this process have their own.

    Games may take steps in turns, and may end in any order. A game's settings are in force during its steps,
    and those from before the first game after the last one.

    >>> before = torch.get_num_threads()
    >>> one, other = ProcessSettings(), ProcessSettings()
    >>> torch.set_num_threads(before + 1)
    >>> other.keep()
    >>> one.close(), other.close(), torch.get_num_threads() == before
    (None, None, True)
    """

    _open: ClassVar[list["ProcessSettings"]] = []

    def __init__(self) -> None:
        self._before = self._own = _now()
        self._open.append(self)

    def keep(self) -> None:
        """Take the present settings as those of this game."""
        self._own = _now()

    def put_in_force(self) -> None:
        """Set them again, if another game has changed them."""
        _set(self._own)

    def close(self) -> None:
        """Restore the settings from before this game, unless a later one is open, which then does it."""
        place = self._open.index(self)
        if place + 1 < len(self._open):
            self._open[place + 1]._before = self._before
        else:
            _set(self._before)
        del self._open[place]


def _now() -> tuple[int, Setting]:
    return torch.get_num_threads(), setting()


def _set(wanted: tuple[int, Setting]) -> None:
    threads, precision = wanted
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    restore(precision)
