"""A worker's process as its parent sees it: give it a trial, read what it answers."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from midstream.command.sweep.events import Ended, Event, Stepped
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.workers.fork_server import ForkServer

_STOP_WITHIN = 60.0  # seconds, after which a process is killed
_MOST = 64 * 1024  # bytes read at once


class Child:
    """One worker process.

    Args:
        server: starts it.
        place: where its trials are played.
        log: file that its messages are appended to.
        room: number of trials that it plays side by side.

    Attributes:
        trials: the trials in hand, by name.
    """

    def __init__(self, server: ForkServer, place: Place, log: Path, room: int = 1) -> None:
        self.trials: dict[str, Trial] = {}
        self.room = room
        self._server = server
        self._place = place
        self._log = log
        self._process: int | None = None
        self._unread = b""

    def start(self) -> int:
        """Start the process; return the file descriptor of its answers."""
        with self._log.open("ab") as log:
            self._process, self._jobs, self._answers = self._server.worker(log.fileno())
        self._unread = b""
        return self._answers

    def give(self, trial: Trial) -> None:
        """Give the process a trial to play."""
        self.trials[trial.name] = trial
        job = {"trial": trial.document(), "place": self._place.document()}
        # A process that is gone breaks the pipe, which `events` reports.
        with suppress(BrokenPipeError), os.fdopen(self._jobs, "wb", closefd=False) as jobs:
            jobs.write(json.dumps(job).encode() + b"\n")

    def events(self) -> Iterator[Event]:
        """Yield what the process has answered.

        Raises:
            EOFError: the process ended.
        """
        content = os.read(self._answers, _MOST)
        if not content:
            raise EOFError(self._end())
        *lines, self._unread = (self._unread + content).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "failed" in answer:
                del self.trials[answer["trial"]]
                yield Ended(answer["trial"], answer["failed"])
            else:
                yield Stepped(answer["trial"], answer["step"], answer["total"], answer["text"])

    def _end(self) -> str:
        """Return how the process ended."""
        assert self._process is not None
        code = self._server.exit_code(self._process)
        self._close()
        if code is None:
            return "ended with the process that starts workers"
        if code < 0:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"ended with exit code {code}; {self._log} says why"

    def stop(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._server.stop(self._process)

    def wait(self) -> None:
        """Wait until the process has ended; kill it if that takes too long."""
        if self._process is not None:
            self._server.exit_code(self._process, _STOP_WITHIN)
            self._close()

    def _close(self) -> None:
        os.close(self._jobs)
        os.close(self._answers)
        self._process = None
