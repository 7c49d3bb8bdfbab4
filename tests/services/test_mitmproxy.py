"""The man in the middle as an addon of mitmproxy: `examples/mitmproxy-addon`."""

import subprocess
import sys
import venv
from functools import partial
from pathlib import Path

import pytest

from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.commands import Program
from services.foreign_proxies import (
    DIGITS,
    check_a_real_game,
    check_a_repeated_batch_goes_on_as_the_same_bytes,
    check_each_batch_is_moved_within_the_budget,
    middle,
    skip_without_network,
)
from services.tiny import problem

pytestmark = pytest.mark.process

EXAMPLE = Path(__file__).parents[2] / "examples" / "mitmproxy-addon"


@pytest.fixture(scope="module")
def mitmdump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return mitmdump in an environment of its own, since it holds its dependencies back."""
    folder = tmp_path_factory.mktemp("mitmproxy") / "venv"
    venv.create(folder)
    here = ["--python", str(folder / "bin" / "python")]
    pip = [sys.executable, "-m", "pip", *here, "install", "--quiet", "--retries", "0", "--no-compile"]
    done = subprocess.run(
        [*pip, "--requirement", str(EXAMPLE / "requirements.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        skip_without_network(done.stderr, "mitmproxy")
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "mitmdump"


def start(mitmdump: Path, folder: Path, server: str, port: int) -> Program:
    return Program(
        folder,
        *(str(mitmdump), "--mode", f"reverse:{server}", "--listen-host", "127.0.0.1"),
        *("--listen-port", str(port), "--scripts", str(EXAMPLE / "level_one.py")),
        *("--set", f"confdir={folder / 'mitmproxy'}"),
        name="mitmdump",
    )


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="mitmproxy has no release for this Python yet")
def test_a_real_game_loses_accuracy_and_nothing_else(
    registry: Registry, mitmdump: Path, tmp_path: Path
) -> None:
    check_a_real_game(registry, partial(start, mitmdump), tmp_path, lost=0.25, **DIGITS)


def test_it_is_a_man_in_the_middle(registry: Registry, mitmdump: Path, tmp_path: Path) -> None:
    with middle(registry, partial(start, mitmdump), tmp_path, model="logistic") as between:
        check_a_repeated_batch_goes_on_as_the_same_bytes(between)
        with between.run.client.stream("GET", "/v1/runs/tiny/events") as events:
            assert next(events.iter_lines()) == "event: step"  # it comes before the stream ends
        for path in ("/v1/runs/tiny/batches/%30", "/v1//runs/tiny/batches/0"):
            problem(between.run.client.put(path, content=tiny.body(0)), 404)


def test_each_batch_is_moved_within_the_budget(registry: Registry, mitmdump: Path, tmp_path: Path) -> None:
    with middle(registry, partial(start, mitmdump), tmp_path, model="logistic") as between:
        check_each_batch_is_moved_within_the_budget(between)


def test_what_it_cannot_attack_goes_no_further(registry: Registry, mitmdump: Path, tmp_path: Path) -> None:
    with middle(registry, partial(start, mitmdump), tmp_path) as between:
        assert "digits-cnn" in problem(between.run.put(0), 502)["detail"]
        assert between.arrived.batches == []
