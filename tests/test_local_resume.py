"""A game in one process that dies between two effects goes on to the bits of an undisturbed one."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

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
        pytest.param("sending", marks=pytest.mark.slow),
        "recorded",
        pytest.param("checkpoint written", marks=pytest.mark.slow),
        pytest.param("checkpoint set back", marks=pytest.mark.slow),
        "checkpoint in place",
        pytest.param("acknowledged", marks=pytest.mark.slow),
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


def test_a_death_in_the_middle_of_a_schedule_and_a_sum_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training: dict[str, Any] = {
        "optimizer": "sgd,momentum=0.9",
        "schedule": "cosine,warmup=1",
        "accumulate": 4,
        "lr": 0.01,
    }
    monkeypatch.setattr(checkpointed, "REPLAY_SECONDS", 0.0)
    whole = midstream.play(**SETTINGS, **training, out=tmp_path, run="whole", follow=quiet)

    def reached(what: str) -> None:
        if what == "checkpoint in place":
            raise Killed

    monkeypatch.setattr(faults, "reached", reached)
    for _ in range(2):  # after the first and the second of the four minibatches that add up
        with pytest.raises(Killed):
            midstream.play(**SETTINGS, **training, out=tmp_path, run="killed", follow=quiet)
    monkeypatch.undo()
    resumed = midstream.play(**SETTINGS, **training, out=tmp_path, run="killed", follow=quiet)
    assert facts(resumed) == facts(whole)


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


class FailsOnce:
    """Corrects nothing, and fails at its third batch the first time."""

    def __init__(self) -> None:
        self.failed = False

    def perturb(self, batch: midstream.Batch, view: midstream.View) -> torch.Tensor:  # noqa: ARG002
        if batch.seq == 2 and not self.failed:
            self.failed = True
            raise ValueError("not now")
        return torch.zeros_like(batch.inputs)


def test_an_attacker_moves_once_if_the_run_refuses_its_batch(
    whole: midstream.GameResult, tmp_path: Path
) -> None:
    with midstream.Game(**SETTINGS, defender=FailsOnce, out=tmp_path, run="game", follow=quiet) as game:
        with pytest.raises(midstream.MidstreamError, match="not now"):
            list(game)
        assert [step.seq for step in game] == [2, 3, 4, 5]
    assert facts(game.result) == facts(whole)


def no_room(*_: object) -> Path:
    raise OSError(errno.ENOSPC, "no room")


def die_when_recorded(moment: str) -> None:
    if moment == "recorded":
        raise Killed
