"""A step taken whole: no reads in it, the same bits as by the links, and captured the same bits again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_graph import RecordedGraph, replaying
from services import tiny
from short_games import FITTING, ends, plan, state
from tiny_training import run
from torch import Tensor

from midstream import plugins
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.games.step_program import fits
from midstream.command.games.whole_step import WholeStep
from midstream.mathematics.level_1 import level_0
from midstream.players.fixed import is_fixed
from midstream.run.resident import Resident
from midstream_server.runs.training import TrainingRun

# All of them play whole games: the others are for the full suite.
ONE_QUICK = [FITTING[0], *(pytest.param(*players, marks=pytest.mark.slow) for players in FITTING[1:])]
OTHERS = [
    ("conversion,target=3", "none"),
    ("influence,max_iterations=2", "none"),
    ("noise", "none"),
    ("pgd,random_start=true", "none"),
    ("level-1,utility=exact", "none"),
    ("level-1", "level-1+cutmix"),
    ("level-1", "crop-ensemble"),
]


def by_links(game: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as patched:
        patched.setattr(WholeStep, "due", lambda _: False)
        left, whole, _ = ends(game)
    assert whole == 0
    return left


@pytest.mark.parametrize(("attacker", "defender"), ONE_QUICK)
def test_steps_taken_whole_end_in_the_bits_of_the_links(
    attacker: str, defender: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, whole, captured = ends(plan(tmp_path / "whole", attacker, defender))
    assert (whole, captured) == (7, False)  # of nine, all but the first and the last
    assert left == by_links(plan(tmp_path / "links", attacker, defender), monkeypatch)


def test_a_layer_that_draws_unseen_draws_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dropping.py").write_text(
        "from torch import nn\n"
        "from torch.nn import functional\n"
        "class Dropping(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward(functional.dropout(x.flatten(1), 0.5, self.training))\n"
        "def made(shape, classes):\n"
        "    return Dropping(64, classes)\n"
    )
    model = f"{tmp_path}/dropping.py:made"
    left, whole, _ = ends(plan(tmp_path / "whole", model=model))
    assert whole == 7
    assert left == by_links(plan(tmp_path / "links", model=model), monkeypatch)


def test_what_was_sent_is_known_of_each_step(tmp_path: Path) -> None:
    with LocalPipeline(plan(tmp_path / "game"), lambda *_: None) as game:
        for step in game.steps():
            assert game.sent is not None
            assert step.attacked is not None
            assert (game.sent.seq, game.sent.parameters_version) == (step.seq, step.seq)
            assert torch.equal(game.sent.inputs, step.attacked)
            assert torch.equal(game.sent.labels, step.labels)
    assert game._whole.graph is not None  # some were taken whole, past the attacker's link


@pytest.mark.parametrize(("attacker", "defender"), OTHERS)
def test_players_that_are_no_fixed_program_are_asked_by_the_links(
    attacker: str, defender: str, tmp_path: Path
) -> None:
    assert ends(plan(tmp_path / "links", attacker, defender, max_steps=3))[1:] == (0, False)


@pytest.mark.parametrize("layered", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("attacker", "defender"), ONE_QUICK)
def test_captured_steps_end_in_the_bits_of_called_ones(
    attacker: str, defender: str, layered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not layered:  # as on a GPU
        monkeypatch.setattr("midstream.mathematics.derivatives.gradients.stack_of", lambda *_: None)
        monkeypatch.setattr("midstream.run.optimizing.descent.stack_of", lambda *_: None)
    with replaying(monkeypatch) as graphs:
        called, *_ = ends(plan(tmp_path / "called", attacker, defender), capture=False)
        assert not graphs
        left, whole, captured = ends(plan(tmp_path / "captured", attacker, defender))
        assert (left, whole, captured) == (called, 7, True)
        assert graphs[0].replays == 2 + 3  # two to check it; the whole batches after the first three


def test_plain_descent_is_captured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replaying(monkeypatch):
        called, *_ = ends(plan(tmp_path / "called", optimizer="sgd"), capture=False)
        assert ends(plan(tmp_path / "captured", optimizer="sgd")) == (called, 7, True)


def test_a_captured_step_that_breaks_a_rule_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replaying(monkeypatch), LocalPipeline(plan(tmp_path / "game", epochs=9), lambda *_: None) as game:
        turns = game.turns()
        while game.step < 6:
            next(turns)
        whole, before = game._whole, state(game)
        steps, graph = whole._steps, whole.graph
        assert steps is not None
        assert graph is not None
        assert graph.captured
        inputs, labels = whole._data.batch(whole._batches.places(game.step))
        endless = torch.full(inputs.shape, float("inf"))
        places = whole._places(steps.rows, whole._batches.places(game.step)) if steps.rows else None
        outcome = graph.replayed(endless, labels, places)
        assert outcome is not None
        assert not outcome.read[: steps.conditions].all()
        assert state(game) == before
        outcome = graph.replayed(inputs, labels, places)
        assert outcome is not None
        assert outcome.read[: steps.conditions].all()
        assert state(game) != before


def test_a_step_that_cannot_be_captured_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> RecordedGraph:
        raise RuntimeError("operation not permitted when stream is capturing")

    with replaying(monkeypatch):
        called, *_ = ends(plan(tmp_path / "called"), capture=False)
        monkeypatch.setattr("midstream.mathematics.graphs.program.CudaGraph", refuse)
        assert ends(plan(tmp_path / "refused")) == (called, 7, False)
    assert caplog.text.count("the step cannot be captured as a CUDA graph") == 1


def test_a_captured_step_of_other_bits_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(RecordedGraph):
        def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(2 * one for one in super().__call__(inputs))

    with replaying(monkeypatch):
        called, *_ = ends(plan(tmp_path / "called"), capture=False)
        monkeypatch.setattr("midstream.mathematics.graphs.program.CudaGraph", Wrong)
        assert ends(plan(tmp_path / "wrong")) == (called, 7, False)
    assert "the captured step ends in other bits" in caplog.text


@pytest.mark.slow
def test_a_game_that_goes_on_captures_anew_and_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replaying(monkeypatch) as graphs:
        undisturbed, *_ = ends(plan(tmp_path / "one"))
        with LocalPipeline(plan(tmp_path / "two"), lambda *_: None) as game:
            for step in game.steps():
                if step.seq == 4:
                    break
        before = len(graphs)
        assert ends(plan(tmp_path / "two"))[0] == undisturbed
        assert len(graphs) > before


def test_checkpoints_do_not_move_the_memory_that_a_graph_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midstream_server.runs.recovery.checkpointed.REPLAY_SECONDS", 0.0)
    with replaying(monkeypatch) as graphs:
        assert ends(plan(tmp_path / "game", max_steps=8))[1:] == (6, True)
        assert graphs[0].replays == 2 + 2


class Said:
    fixed = True

    def perturb(self, batch: Any, view: Any) -> Tensor:  # noqa: ARG002
        return level_0(batch.inputs)


class Relabels(Said):
    fixed = True

    def relabel(self, batch: Any, view: Any) -> Tensor:  # noqa: ARG002
        labels: Tensor = batch.labels
        return labels


def test_a_promise_is_made_by_a_class_itself() -> None:
    class Inherits(Said):
        pass

    patched = Said()
    patched.perturb = lambda *_: None  # type: ignore[method-assign,assignment]
    assert [is_fixed(one) for one in (Said(), Inherits(), patched, Relabels())] == [True, False, False, False]
    assert fits(run(Said()), None)
    assert not fits(run(Said(), on_error="pass-clean"), None)


@pytest.mark.parametrize("attacker", ["level-1", "level-1,beta=0", "level-2", "pgd"])
def test_players_that_promise_keep_it(attacker: str) -> None:
    player = plugins.make("attackers", attacker)
    assert is_fixed(player) == (attacker != "level-2")  # which first estimates M


def test_a_set_that_does_not_fit_stays_with_the_host() -> None:
    train = tiny.split().train
    for memory, fits_ in ((4 * train.inputs.nbytes, False), (5 * train.inputs.nbytes, True)):
        found = Resident(train, torch.device("cpu"), memory=memory)
        assert found.fits == fits_
        inputs, labels = found.batch(torch.tensor([3, 1]))
        assert torch.equal(inputs, train.inputs[[3, 1]])
        assert torch.equal(labels, train.labels[[3, 1]])


def test_a_model_with_random_layers_is_seeded_and_stepped_by_the_links() -> None:
    made: TrainingRun = run("none", model="auto,dropout=0.2")
    made.train(tiny_batch(0))
    assert not made.descent.fixed
    made = run("none")
    assert not made.descent.fixed  # before its first step it has no gradients
    made.train(tiny_batch(0))
    assert made.descent.fixed


def tiny_batch(seq: int) -> Any:
    from tiny_training import batch

    return batch(seq)
