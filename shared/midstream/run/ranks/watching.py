"""Notices that the process of another rank has ended, whatever this one is doing."""

import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread

_EVERY = 0.2  # seconds

GONE = (
    "rank {} (process {}) has ended, so rank {} ends too. The run folder is as after a crash: the same "
    "command goes on with the run"
)


class Watch:
    """Watches processes on this machine, in a thread of its own.

    Args:
        processes: the number of each process by its rank.
        gone: called, in that thread, with the rank whose process has ended.
    """

    def __init__(self, processes: Mapping[int, int], gone: Callable[[int], None]) -> None:
        self._processes = dict(processes)
        self._opened = {rank: _opened(process) for rank, process in processes.items()}
        self._gone = gone
        self._closed = Event()
        self._thread = Thread(target=self._watch, name="ranks", daemon=True)
        self._thread.start()

    def ended(self, wait: float = 0.0) -> int | None:
        """Return a rank whose process has ended, as soon as there is one; None if there is none in time.

        Args:
            wait: how long to wait, in seconds.
        """
        known = [one for one in self._opened.values() if one is not None]
        if len(known) == len(self._opened):
            select.select(known, [], [], wait)
        else:
            time.sleep(wait)
        of = self._processes
        return next((rank for rank, one in self._opened.items() if _ended(of[rank], one)), None)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()
        for descriptor in self._opened.values():
            if descriptor is not None:
                os.close(descriptor)

    def _watch(self) -> None:
        while not self._closed.is_set():
            rank = self.ended(_EVERY)
            if rank is not None and not self._closed.is_set():
                self._gone(rank)
                return


def _opened(process: int) -> int | None:
    """Return a descriptor that becomes readable when a process ends; None if there is no such thing."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):  # not Linux, an old one, or the process has ended
        return None


def _ended(process: int, descriptor: int | None) -> bool:
    if descriptor is not None:
        return bool(select.select([descriptor], [], [], 0)[0])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def leave(sentence: str) -> None:
    """End this process at once, with a sentence on standard error and exit code 1.

    A run folder survives the death of its process at any moment, so nothing is lost.
    """
    tell(sentence)
    os._exit(1)


def tell(sentence: str) -> None:
    """Print a sentence on standard error, in one piece."""
    sys.stderr.flush()
    os.write(2, f"midstream: {sentence}\n".encode())


def leave_after_watch(sentence: str) -> None:
    """Leave because a connection broke; a watch, if it sees which process has ended, leaves first."""
    time.sleep(5 * _EVERY)
    leave(sentence)
