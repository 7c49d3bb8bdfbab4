"""Stop a service when the command that started it ends, even if that command is killed."""

import os
import signal
import time
from threading import Thread

VARIABLE = "MIDSTREAM_PARENT"

_EVERY = 0.5  # seconds


def end_with_parent() -> None:
    """Send SIGTERM to this process once the parent process given in the environment has ended."""
    if VARIABLE in os.environ:
        Thread(target=_watch, args=(int(os.environ[VARIABLE]),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
