"""`midstream …`, and other programs, as processes of their own, as someone at a terminal runs them."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from services.copies import Copy
from services.waiting import LONGEST, until


def _hear_ctrl_c() -> None:
    # A shell lets what it runs in the background ignore Ctrl-C, and these tests with it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


Process = subprocess.Popen[bytes] | Copy


class Program:
    """A process that runs until it ends or the context does.

    Args:
        folder: where it runs, and where what it says is kept.
        command: what to start, and its arguments.
        name: of the files that keep what it says.
    """

    def __init__(self, folder: Path, *command: str, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = " ".join(command)
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = self._started(command, folder, out, err, environment)

    def _started(
        self, command: Sequence[str], folder: Path, out: IO[bytes], err: IO[bytes], env: dict[str, str]
    ) -> Process:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            preexec_fn=_hear_ctrl_c,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def out(self) -> str:
        """What it wrote on standard output so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it wrote on standard error so far."""
        return self._err.read_text()

    def until_it_says(self, words: str) -> None:
        """Return once the words are on its standard error; fail where it ends without them."""

        def said() -> bool:
            over = self.process.poll() is not None
            assert words in self.err or not over, f"{self.name} ended without {words!r}: {self.err}"
            return words in self.err

        until(said, f"{self.name} to say {words!r}")

    def end(self, number: int | None = None) -> int:
        """Send it a signal, if any, and return its exit code, negative where a signal ended it."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(LONGEST)

    def interrupt(self) -> int:
        """Press Ctrl-C, and return its exit code."""
        return self.end(signal.SIGINT)


class Command(Program):
    """`midstream …`.

    Args:
        folder: where it runs, and where what it says is kept.
        arguments: behind `midstream`.
        fresh: whether it is a new Python, as at a terminal, rather than a copy of one that has imported all.
    """

    def __init__(self, folder: Path, *arguments: str, fresh: bool = False) -> None:
        self._fresh = fresh
        python = (sys.executable, "-m", "midstream.command.main")
        super().__init__(folder, *python, *arguments, name=arguments[0])

    def _started(
        self, command: Sequence[str], folder: Path, out: IO[bytes], err: IO[bytes], env: dict[str, str]
    ) -> Process:
        if self._fresh:
            return super()._started(command, folder, out, err, env)
        return Copy(command, cwd=folder, stdout=out, stderr=err, env=env)
