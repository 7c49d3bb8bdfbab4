"""A command ends with the codes that `midstream --help` tells of, and with no others.

That a stopped service ends with 0 is in test_by_hand.py; that a game over HTTP ends with 130 at Ctrl-C is in
test_run_folder.py.
"""

import signal
import sys
from pathlib import Path

import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.commands import Command, Program
from services.loopback import client_of, unused_url
from services.small_games import GAME, Midstream
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


@pytest.mark.parametrize(
    ("transport", "side"),
    [
        ("local", "--attacker"),
        ("local", "--defender"),
        pytest.param("http", "--attacker", marks=pytest.mark.process),
    ],
)
def test_a_game_that_fails_is_1(
    midstream: Midstream, broken: str, tmp_path: Path, transport: str, side: str
) -> None:
    ended = midstream(*GAME, "--out", str(tmp_path), "--transport", transport, side, broken)
    assert ended.code == 1
    assert ended.out == ""
    said = ended.err.splitlines()[-1]
    for mention in ("out of ideas", broken, "batch 0"):
        assert mention in said


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
def test_a_game_that_is_terminated_is_130(tmp_path: Path) -> None:
    game = ["--transport", "local", "--epochs", "100000", "--evaluate-every", "1", "--run", "long"]
    with Command(tmp_path, *GAME, *game) as command:
        metrics = tmp_path / "runs/long/metrics.jsonl"
        until(lambda: metrics.exists() and metrics.stat().st_size > 0, "a step to be taken")
        assert command.end(signal.SIGTERM) == 130
        assert command.err.splitlines()[-1] == "midstream: interrupted"


PRESSED_AGAIN = """
import atexit, signal
from midstream.command.main import main


def tidy_up():  # as libraries do
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    print("tidied up")


atexit.register(tidy_up)
main()
"""


@pytest.mark.process
def test_a_second_signal_while_it_ends_changes_nothing(tmp_path: Path) -> None:
    command = (sys.executable, "-c", PRESSED_AGAIN, "plya")
    with Program(tmp_path, *command, name="twice") as program:
        assert program.end() == 2
        assert (program.out, "Traceback" in program.err) == ("tidied up\n", False)
