"""The process that workers are copies of, as the sweep sees it. This module does not import torch."""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from select import select
from typing import NamedTuple

from midstream.errors import MidstreamError

NUMBER = struct.Struct("=q")
"""The form of a request, and of an answer."""
WORKER = 0
"""The request for a worker; any other number is the id of a worker, and asks how it ended."""

_MODULE = "midstream.command.sweep.workers.template"
_ATTEMPTS = 3  # a server that ends this often before it starts a worker cannot start one


class WorkerError(MidstreamError, RuntimeError):
    """No worker can be started; the message says why."""


class Started(NamedTuple):
    """A worker that has started.

    Attributes:
        process: its process id.
        jobs: file descriptor of its standard input, to write to.
        answers: file descriptor of its standard output, to read from.
    """

    process: int
    jobs: int
    answers: int


class ForkServer:
    """Starts workers as copies of one process, which imports torch once for all of them.

    A worker then starts at once, also in place of one that died. As a context, the server ends with it. If
    the server is killed, its workers end, and the next worker comes from a new server.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: socket.socket | None = None
        self._workers: set[int] = set()  # those of this process that were not waited for

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, unless it runs. It imports torch while the caller goes on."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._asking, served = socket.socketpair()
        with served:
            # A session of its own: Ctrl-C reaches only the sweep, which stops its workers.
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=served.fileno(),
                start_new_session=True,
                env=_environment(),
            )

    def worker(self, log: int) -> "Started":
        """Start a worker.

        Args:
            log: the file descriptor of its standard error.

        Raises:
            WorkerError: the process that starts workers ends before it starts one.
        """
        for _ in range(_ATTEMPTS):
            self.start()
            # Pipes of its own for each attempt: a server that is killed may have started a worker before.
            jobs, give = os.pipe()
            read, answers = os.pipe()
            try:
                process = self._ask(WORKER, [jobs, answers, log])
            finally:
                os.close(jobs)
                os.close(answers)
            if process is not None:
                self._workers.add(process)
                return Started(process, give, read)
            os.close(give)
            os.close(read)
        raise WorkerError(f"no worker can be started: the process that starts them ended {_ATTEMPTS} times")

    def stop(self, worker: int) -> None:
        """Ask a worker to end."""
        if worker in self._workers and self._process is not None and self._process.poll() is None:
            # The server has not waited for it yet, so the id is still the worker's.
            os.kill(worker, signal.SIGTERM)

    def exit_code(self, worker: int, within: float | None = None) -> int | None:
        """Wait for the end of a worker, and return its exit code, or minus the signal that killed it.

        Args:
            worker: its process id.
            within: seconds after which it is killed.

        Returns:
            None if its server has ended, and the worker with it.
        """
        if worker not in self._workers:
            return None
        self._workers.remove(worker)
        return self._ask(worker, within=within)

    def close(self) -> None:
        """End the process; a worker that still plays ends by itself."""
        self._workers.clear()
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ask(self, number: int, descriptors: Sequence[int] = (), within: float | None = None) -> int | None:
        """Return the answer to a request, or None if the process has ended."""
        if self._asking is None:
            return None
        answer = b""
        try:
            with suppress(ConnectionError):
                socket.send_fds(self._asking, [NUMBER.pack(number)], list(descriptors))
                if not select([self._asking], [], [], within)[0]:
                    os.kill(number, signal.SIGKILL)
                answer = self._asking.recv(NUMBER.size)
        finally:
            if not answer:  # also after an interruption: the next answer would be taken for this one
                self.close()
        return NUMBER.unpack(answer)[0] if answer else None


def _environment() -> dict[str, str]:
    # MIDSTREAM_* settings are for the sweep, which passes each trial on as a whole.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MIDSTREAM_")}
    return {**inherited, "PYTHONUNBUFFERED": "1"}
