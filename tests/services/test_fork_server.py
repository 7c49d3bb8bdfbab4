"""The process that workers are copies of: how they start and end, and what happens without it."""

import os
import signal
from pathlib import Path

import pytest

from midstream.command.sweep.workers import fork_server
from midstream.command.sweep.workers.fork_server import ForkServer, WorkerError

pytestmark = pytest.mark.process


def test_workers_start_and_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as log, ForkServer() as server:
        done, asked, stuck, left = (server.worker(log.fileno()) for _ in range(4))
        os.close(done.jobs)
        assert server.exit_code(done.process) == 0
        assert os.read(done.answers, 1) == b""  # no other process holds the pipe
        assert os.getsid(asked.process) == asked.process
        server.stop(asked.process)
        assert server.exit_code(asked.process) in (130, -signal.SIGTERM)
        os.kill(stuck.process, signal.SIGSTOP)
        server.stop(stuck.process)
        assert server.exit_code(stuck.process, within=0.1) == -signal.SIGKILL
        server.close()
        assert server.exit_code(left.process) is None
        server.stop(left.process)  # its id may be another process's by now
        assert os.read(left.answers, 1) == b""  # it ends by itself
    for worker in (asked, stuck, left):
        os.close(worker.jobs)
    for worker in (done, asked, stuck, left):
        os.close(worker.answers)


def test_a_server_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "_MODULE", "midstream.errors")  # it ends at once
    with ForkServer() as server, pytest.raises(WorkerError, match="ended 3 times"):
        server.worker(2)
