"""The training server in this process, served for real on a loopback port, and a small run on it."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch

from midstream.command.main import main
from midstream.web import children
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.copies import Copy
from services.loopback import client_of, unused_url
from services.tiny import TinyRun


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs_errors: a service in this process is right to log an error")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Return a server's runs, none yet; a test may allow it code by name."""
    return tiny.registry(tmp_path / "runs")


@pytest.fixture
def server(registry: Registry) -> Iterator[httpx.Client]:
    """Give a client of a training server without runs."""
    with client_of(make_app(registry)) as client:
        yield client


@pytest.fixture
def run(server: httpx.Client) -> TinyRun:
    """Return a run that waits for its first batch."""
    return TinyRun(server)


@pytest.fixture
def port() -> Iterator[int]:
    """Return a port that nobody else is given, though its service goes and comes back."""
    with unused_url() as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture(autouse=True)
def no_hidden_faults(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which a service in this process logged an error that nobody expected."""
    yield
    errors = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    if request.node.get_closest_marker("logs_errors") is None:
        assert not errors, "\n".join(record.getMessage() for record in errors)


@pytest.fixture(autouse=True)
def quick_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a game over HTTP in this process start its services as copies; a module may override it."""
    like = SimpleNamespace(Popen=Copy, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(children, "subprocess", like)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def midstream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Return a function that runs `midstream …` in this process, which need not import torch again."""
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["midstream", *arguments])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        assert isinstance(code, int)
        return Ended(code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)
