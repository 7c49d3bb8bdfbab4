"""A worker's process as its parent sees it: give it a trial, read what it answers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from midstream.command.games import parent
from midstream.command.sweep.events import Ended, Event, Stepped
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial

_STOP_WITHIN = 60.0  # seconds, after which a process is killed
_MOST = 64 * 1024  # bytes read at once


class Child:
    """One worker process. It is started when it is given its first trial.

    Args:
        place: where its trials are played.
        log: file that its messages are appended to.
        room: number of trials that it plays side by side.

    Attributes:
        trials: the trials in hand, by name.
    """

    def __init__(self, place: Place, log: Path, room: int = 1) -> None:
        self.trials: dict[str, Trial] = {}
        self.room = room
        self._place = place
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def start(self) -> int:
        """Start the process; return the file descriptor of its answers."""
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C reaches only the parent, which stops its workers.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "midstream.command.sweep.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )
        self._unread = b""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def give(self, trial: Trial) -> None:
        """Give the process a trial to play."""
        assert self._process is not None
        assert self._process.stdin is not None
        self.trials[trial.name] = trial
        job = {"trial": trial.document(), "place": self._place.document()}
        with suppress(BrokenPipeError):  # the process is gone, which `events` reports
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def events(self) -> Iterator[Event]:
        """Yield what the process has answered.

        Raises:
            EOFError: the process ended.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        content = os.read(self._process.stdout.fileno(), _MOST)
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
        code = self._process.wait()
        self._close()
        if code < 0:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"ended with exit code {code}; {self._log} says why"

    def stop(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until the process has ended; kill it if that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # a trial that the process never read
                pipe.close()
        self._process = None


def _environment() -> dict[str, str]:
    # MIDSTREAM_* settings are for the sweep, which passes each trial on as a whole.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MIDSTREAM_")}
    return {**inherited, parent.VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
