"""Stop a service when the command that started it ends, even if that command is killed."""

import os
import signal
import time
from threading import Thread

from midstream.web.children import PARENT

_EVERY = 0.5  # seconds


def end_with_parent() -> None:
    """Send SIGTERM to this process once the parent process given in the environment has ended."""
    if PARENT in os.environ:
        Thread(target=_watch, args=(int(os.environ[PARENT]),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
