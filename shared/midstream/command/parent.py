"""A service that ends with the command that started it, even if that is killed."""

import os
import signal
import time
from threading import Thread

VARIABLE = "MIDSTREAM_PARENT"

_EVERY = 0.5  # seconds


def end_with_parent() -> None:
    """Let this process stop, as at SIGTERM, once the parent that named itself in the environment is gone."""
    if VARIABLE in os.environ:
        Thread(target=_watch, args=(int(os.environ[VARIABLE]),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
