"""A `midstream …` process that kills itself at a given moment."""

import os
import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from midstream.command.main import main
from midstream.storage import faults

PRELOADED = (
    "midstream_server.http.app",
    "midstream_server.runs.recovery.resuming",
    "midstream_proxy.app",
    "midstream_provider.push",
    "torch.fx.experimental.symbolic_shapes",  # the check of second derivatives imports it
    "uvicorn",
)
"""What the services import when they start, which takes seconds. A command itself imports none of it."""


def nursery() -> ForkServerContext:
    """Return a multiprocessing context that forks from a process in which torch is already imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    return context


def start(
    context: ForkServerContext,
    words: list[str],
    *,
    folder: Path,
    log: Path,
    moment: str = "",
    trigger: Path | None = None,
) -> BaseProcess:
    """Start `midstream WORDS` as a process of its own.

    Args:
        context: from `nursery`.
        words: the command.
        folder: working directory.
        log: file to which the output is appended.
        moment: moment and occurrence at which the process kills itself, for example `journalled:3`; empty for
            never.
        trigger: a file that, once it exists, names the moment at which the process kills itself.
    """
    process = context.Process(target=_live, args=(words, folder, log, moment, trigger))
    process.start()
    return process


def _live(words: list[str], folder: Path, log: Path, moment: str, trigger: Path | None) -> None:
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(written, stream)
    os.chdir(folder)
    if moment:
        arm(moment)
    if trigger is not None:
        lie_in_wait(trigger)
    main(words)


def arm(text: str) -> None:
    """Kill this process (SIGKILL) when it reaches a moment for the nth time."""
    deadly, _, count = text.partition(":")
    left = int(count)

    def reached(moment: str) -> None:
        nonlocal left
        if moment == deadly:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    faults.reached = reached


def lie_in_wait(trigger: Path) -> None:
    """Kill this process (SIGKILL) at the moment that a file names, once the file exists."""

    def reached(moment: str) -> None:
        with suppress(FileNotFoundError):
            if trigger.read_text() == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    faults.reached = reached
