"""A command ends with the codes that `midstream --help` tells of, and with no others."""

import signal
import sys
from pathlib import Path

import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.commands import Command, Program
from services.loopback import client_of, unused_url
from services.small_games import GAME, TRANSPORTS, Midstream
from services.tiny import TinyRun
from services.waiting import until

BROKEN = """
class Broken:
    def perturb(self, batch, view):
        raise KeyError("out of ideas")
"""


@pytest.fixture
def broken(tmp_path: Path) -> str:
    (tmp_path / "broken.py").write_text(BROKEN)
    return f"{tmp_path / 'broken.py'}:Broken"


def test_help_tells_the_codes(midstream: Midstream) -> None:
    told = midstream("--help").out.partition("Exit codes:\n")[2]
    assert [line.split()[0] for line in told.splitlines()] == ["0", "1", "2", "130"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("side", ["--attacker", "--defender"])
def test_a_game_that_fails_is_1(
    midstream: Midstream, broken: str, tmp_path: Path, transport: str, side: str
) -> None:
    ended = midstream(*GAME, "--out", str(tmp_path), "--transport", transport, side, broken)
    assert ended.code == 1
    assert ended.out == ""
    assert "out of ideas" in ended.err.splitlines()[-1]


def test_a_command_line_that_is_wrong_is_2(midstream: Midstream) -> None:
    assert [midstream(*words).code for words in (["plya"], ["play", "--epochs", "x"], ["compare"])] == [2] * 3


@pytest.mark.parametrize(("defender", "code"), [("none", 0), (None, 1)])
def test_a_provider_ends_as_its_run_does(
    midstream: Midstream, tmp_path: Path, broken: str, defender: str | None, code: int
) -> None:
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset({broken}))
    with client_of(make_app(registry)) as client:
        TinyRun(client, defender=defender or broken)
        ended = midstream("provide", "--server", str(client.base_url))
    assert ended.code == code, ended.err
    said = ended.err.splitlines()[-1]
    assert ("out of ideas" if code else "all 6 batches of run 'tiny' were taken") in said


def test_a_provider_that_nobody_answers_is_1(midstream: Midstream) -> None:
    with unused_url() as url:
        assert midstream("provide", "--server", url, "--give-up-after", "0").code == 1


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_game_that_is_interrupted_is_130(tmp_path: Path, number: int) -> None:
    game = ["--transport", "local", "--epochs", "100000", "--evaluate-every", "1", "--run", "long"]
    with Command(tmp_path, *GAME, *game) as command:
        metrics = tmp_path / "runs/long/metrics.jsonl"
        until(lambda: metrics.exists() and metrics.stat().st_size > 0, "a step to be taken")
        assert command.end(number) == 130
        assert command.err.splitlines()[-1] == "midstream: interrupted"


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_that_is_stopped_is_0(tmp_path: Path, number: int) -> None:
    with Command(tmp_path, "serve", "--port", "0") as command:
        command.until_it_says("listening on")
        assert command.end(number) == 0


PRESSED_AGAIN = """
import atexit, signal, sys
from midstream.command.main import main

number = int(sys.argv.pop(1))
atexit.register(lambda: [signal.raise_signal(number), print("tidied up")])  # as libraries do
main()
"""


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_while_it_ends_changes_nothing(tmp_path: Path, number: int) -> None:
    command = (sys.executable, "-c", PRESSED_AGAIN, str(int(number)), "plya")
    with Program(tmp_path, *command, name="twice") as program:
        assert program.end() == 2
        assert (program.out, "Traceback" in program.err) == ("tidied up\n", False)
