"""Processes of `midstream …` that are copies of one that has imported everything, so each starts at once.

Imports take a service three seconds of computing; what it does then is the same. Where the start itself is
tested, the process is a fresh one: see `services.commands.Command`. Unlike fresh processes, copies share
Python's seed of hashes, find modules where the first one did, have everything imported, end with the tests
rather than with who started them, and end without Python's own clean-up. So some tests start fresh processes
only: of the bits of a game (`test_run_folder`) and of three services (`test_by_hand`).
"""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any

from benchmarks.chaos.mortal import nursery

from midstream.command.main import main
from midstream.web.children import PARENT

_PROGRAM = ("-m", "midstream.command.main")


class Copy:
    """A process, by the part of `subprocess.Popen` that is used to run `midstream …`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: IO[bytes],
        stderr: IO[bytes],
        env: Mapping[str, str],
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        assert tuple(command[1:3]) == _PROGRAM
        assert stdin == subprocess.DEVNULL  # what multiprocessing gives
        self._words = list(command)
        files = [_Descriptor(stdout.fileno()), _Descriptor(stderr.fileno())]
        passed = {str(number): _Descriptor(number) for number in pass_fds}
        where = Path.cwd() if cwd is None else cwd
        self._process = nursery().Process(
            target=_live, args=(self._words[3:], where, dict(env), files, passed, start_new_session)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self.poll()) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self._words, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Descriptor:
    """An open file, which the copy gets under another number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(duplicate: Any) -> _Descriptor:
    return _Descriptor(duplicate.detach())


def _live(
    words: list[str],
    folder: Path,
    env: dict[str, str],
    files: list[_Descriptor],
    passed: dict[str, _Descriptor],
    new_session: bool,
) -> None:
    """Run a command as a fresh process does."""
    if new_session:
        os.setsid()
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        os.dup2(file.number, stream.fileno())
        os.close(file.number)
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(write_through=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    if PARENT in env:
        os.environ[PARENT] = str(os.getppid())  # it ends with the tests
    words = [str(passed[word].number) if before == "--fd" else word for before, word in _pairs(words)]
    sys.argv = ["midstream", *words]
    try:
        main(words)
    finally:
        atexit._run_exitfuncs()


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *words], words, strict=False))
