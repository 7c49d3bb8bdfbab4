"""What more than one file of tests needs, and the guard of the marker `process`."""

import gc
import importlib.metadata
import os
import sys
from collections.abc import Generator
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from _pytest.doctest import DoctestModule

# Every setting can come from the environment; the tests' own must not.
_ENVIRONMENT = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MIDSTREAM_")}

# A server asks for three versions as it creates a run, which would take a quarter of the time.
importlib.metadata.version = cache(importlib.metadata.version)

# For the processes that share the tests, which inherit what is left.
os.environ |= {f"TESTS_OF_{name}": value for name, value in _ENVIRONMENT.items()}


# The processes that tests start read the compiled modules of those before them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What players learn before a game is kept for these tests alone.
_CACHE = TemporaryDirectory(prefix="midstream-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name


# Python tells an audit hook of each process before it starts; a hook stays for as long as the tests run.
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
_HARMLESS = {"uname", "fc-list", "lscpu", "git"}  # what `platform`, matplotlib, joblib and GitPython ask once
_unmarked: list[str] = []
"""The test in hand, unless it may start processes."""


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTS and _unmarked and not _HARMLESS & {*map(str, arguments[:1])}:
        pytest.fail(f"{_unmarked[0]} starts a process, {arguments[:2]}: mark it with pytest.mark.process")


sys.addaudithook(_refuse_processes)
_start = BaseProcess.start


def _start_or_refuse(self: BaseProcess) -> None:
    _refuse_processes("os.fork", (self.name,))  # the server that forks them may be running
    _start(self)


BaseProcess.start = _start_or_refuse  # type: ignore[method-assign]


_SLOW_DOCTESTS = {
    "midstream.attacks.adversarial.cw.carlini_wagner",
    "midstream.attacks.robustness.robustness",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cuda",
        choices=["cuda", "cpu"],
        help="device of the tests marked gpu; on the CPU, a stand-in for graphs repeats what it recorded",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare torch in each process that runs tests; the one that hands them out need not wait for it."""
    if config.getoption("numprocesses", None):
        return
    import known_architectures
    import torch

    # The tensors here are small: a second thread is mostly waited for, and long on a busy machine.
    torch.set_num_threads(1)
    known_architectures.share()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for no examples in modules of tests, which have none: a tenth of the collection."""
    found = yield
    if not file_path.name.startswith("test_"):
        return found
    return [collector for collector in found if not isinstance(collector, DoctestModule)]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what collection makes, nearly a million objects, out of the search for garbage.

    The search takes a second and a half during collection and two more at the end.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the examples in docstrings that are slow, which cannot mark themselves."""
    for item in items:
        if item.name in _SLOW_DOCTESTS:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that `make quick` runs and that starts a process."""
    _unmarked[:] = (
        [] if {"process", "browser", "slow"} & {mark.name for mark in item.iter_markers()} else [item.nodeid]
    )
    try:
        return (yield)
    finally:
        _unmarked.clear()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the torchvision root that the environment variable MIDSTREAM_DATA_ROOT names."""
    root = os.environ.get("TESTS_OF_MIDSTREAM_DATA_ROOT")
    if not root:
        pytest.skip("the real data sets are tested where MIDSTREAM_DATA_ROOT names a torchvision root")
    return Path(root)
