"""A game in one process that dies between two effects goes on to the bits of an undisturbed one."""

import errno
from pathlib import Path
from typing import Any

import pytest

import midstream
from midstream.storage import faults
from midstream_server.runs import record
from midstream_server.runs.recovery import checkpointed

SETTINGS: dict[str, Any] = {
    "train_size": 25,
    "validation_size": 40,
    "batch_size": 10,
    "epochs": 2,
    "attacker": "level-1",
    "threads": 1,
    "device": "cpu",
}


class Killed(BaseException):
    """Stands for the end of the process."""


def quiet(*_: object) -> None:
    pass


def play(out: Path, run: str) -> midstream.GameResult:
    return midstream.play(**SETTINGS, out=out, run=run, follow=quiet)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> midstream.GameResult:
    return play(tmp_path_factory.mktemp("runs"), "whole")


def facts(result: midstream.GameResult) -> object:
    pictures = {path.name: path.read_bytes() for path in (result.folder / "samples").iterdir()}
    metrics = {name: values.tolist() for name, values in result.metrics.items() if name in ("step", "loss")}
    return result.parameters_sha256, metrics, pictures


@pytest.mark.parametrize(
    "moment",
    [
        "sending",
        "recorded",
        "checkpoint written",
        "checkpoint set back",
        "checkpoint in place",
        "acknowledged",
    ],
)
def test_a_death_changes_no_bit(
    moment: str, whole: midstream.GameResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointed, "REPLAY_SECONDS", 0.0)  # a checkpoint after each step
    passed = 0

    def reached(what: str) -> None:
        nonlocal passed
        passed += what == moment
        if what == moment and passed == 3:
            raise Killed

    monkeypatch.setattr(faults, "reached", reached)
    with pytest.raises(Killed):
        play(tmp_path, "killed")
    assert facts(play(tmp_path, "killed")) == facts(whole)


def test_a_checkpoint_that_is_written_late_has_the_memory_of_its_own_step(
    whole: midstream.GameResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointed, "REPLAY_SECONDS", 0.0)
    with midstream.Game(**SETTINGS, out=tmp_path, run="full", follow=quiet) as game:
        steps = iter(game)
        next(steps)
        with monkeypatch.context() as full:
            full.setattr(record, "write_checkpoint", no_room)
            with pytest.raises(OSError, match="no room"):
                next(steps)
        with monkeypatch.context() as dying:
            dying.setattr(faults, "reached", die_when_recorded)
            with pytest.raises(Killed):
                next(iter(game))
    assert facts(play(tmp_path, "full")) == facts(whole)


def no_room(*_: object) -> Path:
    raise OSError(errno.ENOSPC, "no room")


def die_when_recorded(moment: str) -> None:
    if moment == "recorded":
        raise Killed
