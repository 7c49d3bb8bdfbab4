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
        self._gone = gone
        self._closed = Event()
        self._thread = Thread(target=self._watch, name="ranks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        opened = {rank: _opened(process) for rank, process in self._processes.items()}
        try:
            while not self._closed.is_set():
                for rank, descriptor in opened.items():
                    if _ended(self._processes[rank], descriptor) and not self._closed.is_set():
                        self._gone(rank)
                        return
                self._closed.wait(_EVERY)
        finally:
            for descriptor in opened.values():
                if descriptor is not None:
                    os.close(descriptor)


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
