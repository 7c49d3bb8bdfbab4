"""A worker: a process that plays trials as they arrive, several of them side by side.

It reads one JSON object per line on standard input, a trial and its place. It writes one JSON object per line
on standard output: the trial's name with its progress, or at the end with its failure or null. It ends with
its parent, the process of `template`.
"""

import json
import os
import signal
import sys
import time
from select import select
from typing import TextIO

# Read when torch is first imported: a thread that waits must sleep, since games share the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from midstream.command.games.game import Follow
from midstream.command.games.parent import end_with_parent
from midstream.command.games.side_by_side import SideBySide
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.trial_game import played_turns
from midstream.run.process.freed_memory import keep_freed_memory

_EVERY = 0.5  # seconds between lines of progress
_MOST = 64 * 1024  # bytes read at once


def main() -> None:
    """Play trials until standard input ends, all that are in hand side by side."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a game over HTTP stops its own processes
    keep_freed_memory()  # before the first thread, which else gets a heap of its own
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a plug-in prints goes to the log
    jobs, games = _Lines(0), SideBySide[str, str | None]()
    try:
        while games or not jobs.ended:
            for line in jobs.arrived(wait=not games):
                job = json.loads(line)
                trial, place = Trial.of(job["trial"]), Place.of(job["place"])
                game = played_turns(trial, place, _following(trial.name, answers))
                games.add(trial.name, game, torch.device("cpu" if place.device == "auto" else place.device))
            for name, reason in games.turn():
                answers.write(json.dumps({"trial": name, "failed": reason}) + "\n")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        games.close()


def _following(name: str, answers: TextIO) -> Follow:
    told = 0.0

    def follow(step: int, total: int, text: str) -> None:
        nonlocal told
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            answers.write(json.dumps({"trial": name, "step": step, "total": total, "text": text}) + "\n")

    return follow


class _Lines:
    """The lines of a file descriptor, as they arrive."""

    def __init__(self, descriptor: int) -> None:
        self.ended = False
        self._descriptor = descriptor
        self._unread = b""

    def arrived(self, *, wait: bool) -> list[bytes]:
        """Return the lines that have arrived; if there are none, wait for some if asked to."""
        if self.ended or not select([self._descriptor], [], [], None if wait else 0)[0]:
            return []
        content = os.read(self._descriptor, _MOST)
        self.ended = not content
        *lines, self._unread = (self._unread + content).split(b"\n")
        return lines
