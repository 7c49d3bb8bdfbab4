"""midstream's commands as child processes, each with a log file of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

PARENT = "MIDSTREAM_PARENT"
"""The environment variable with the process whose end also ends the child, even if it is killed."""

_STOP_WITHIN = 60.0  # seconds


class Children:
    """Child processes that end with this one.

    Args:
        logs: folder for one log file per child.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        *arguments: str,
        listener: socket.socket | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `midstream <arguments>` as a child process.

        Args:
            name: names the child and its log.
            arguments: the command and its options.
            listener: a socket that the child is to listen on; it is closed here.
            environment: further variables of the child.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "midstream.command.main", *arguments]
        sockets = []
        if listener is not None:
            command += ["--fd", str(listener.fileno())]
            sockets = [listener.fileno()]
        # A session of its own: Ctrl-C reaches only the parent, which stops its children in order.
        with (self.logs / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=sockets,
                start_new_session=True,
                env={**_inherited(), "PYTHONUNBUFFERED": "1", **(environment or {})},
            )
        if listener is not None:
            listener.close()

    def ended(self) -> dict[str, int]:
        """Return the exit codes of the children that have ended."""
        codes = {name: child.poll() for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def last_words(self, name: str) -> str:
        """Return the last line of a child's log."""
        try:
            lines = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        except OSError as error:
            return str(error)
        return lines[-1] if lines else "its log is empty"

    def interrupt(self) -> None:
        """Ask every child to end, the last one that was started first."""
        for child in reversed(self._children.values()):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask every child to end, and return once all have; one that does not is killed."""
        self.interrupt()
        deadline = time.monotonic() + _STOP_WITHIN
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _inherited() -> dict[str, str]:
    # MIDSTREAM_* settings are for the parent, which passes options to each child. MIDSTREAM_RUN, for example,
    # means something different to each command.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MIDSTREAM_")}
    return {**inherited, PARENT: str(os.getpid())}
