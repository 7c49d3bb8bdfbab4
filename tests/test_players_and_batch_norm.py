"""Every player either plays against batch norm that trains, or is refused by name with a way out."""

from functools import cache
from pathlib import Path

import pytest
import torch
from cases import CLASSES, Case, Problem
from installed_players import Chosen, installed, ready, view
from tiny_training import batch, equal, run, state
from torch import nn

import midstream
from midstream import Batch, Budget
from midstream.mathematics.smoothness import estimate_smoothness
from midstream.players.batch_norm import against_batch_norm
from midstream.players.referee import move
from midstream.plugins import PluginError

LEVELS = {"level-1,utility=exact", "level-2,steps=2,utility=exact", "level-2"}
REFUSED = {
    "attackers": {*LEVELS, "atn", "deep-confuse", "em", "rem", "tap"},
    "defenders": LEVELS,
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, CLASSES)
    )


@cache  # the derivatives of one model are checked once
def problem(*, validation_batch: int | None = None) -> Problem:
    p = Case("trained batch norm", network, (1, 8, 8)).build(torch.float32, batch=5)
    midstream.use_batch_statistics(p.model, validation_batch=validation_batch)
    p.model.eval()
    return p


PLAYERS = [
    *(c for c in installed("attackers") if not c.text.startswith("replay")),  # of a file, which asks no model
    *installed("defenders"),
    *(Chosen("attackers", text) for text in ("level-1,utility=exact", "level-2", "level-2,smoothness=0.3")),
    *(Chosen("defenders", text) for text in ("level-1,utility=exact", "level-2", "level-2+cutmix")),
]


def is_refused(chosen: Chosen) -> bool:
    members = chosen.text.split("+")
    return any(
        member.startswith(f"{text},") or member == text
        for member in members
        for text in REFUSED[chosen.side]
        if text != "level-2" or member == "level-2"
    )


@pytest.mark.parametrize("chosen", PLAYERS, ids=[f"{c.side[:-1]} {c.text}" for c in PLAYERS])
def test_a_player_plays_or_says_why_not(chosen: Chosen) -> None:
    p, budget = problem(), Budget(0.5)
    why = against_batch_norm(chosen.make(), p.model)
    assert (why is not None) == is_refused(chosen), why
    if why is not None:
        return
    before = {name: value.clone() for name, value in p.model.state_dict().items()}
    player = ready(chosen, p, budget)
    moved = move(chosen.text, player, Batch(0, p.inputs, p.labels), view(chosen, p, budget))
    assert moved.isfinite().all()
    assert not any(layer.training for layer in p.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in p.model.state_dict().items())


def test_the_exact_utility_plays_where_v_is_taken_as_trained() -> None:
    p, budget = problem(validation_batch=4), Budget(0.5)
    for chosen in (
        Chosen("attackers", "level-1,utility=exact"),
        Chosen("defenders", "level-1,utility=exact"),
    ):
        assert against_batch_norm(chosen.make(), p.model) is None
        moved = move(chosen.text, chosen.make(), Batch(0, p.inputs, p.labels), view(chosen, p, budget))
        assert not torch.equal(moved, p.inputs)
    assert against_batch_norm(Chosen("attackers", "level-2,utility=exact").make(), p.model) is not None


def test_the_constant_of_the_step_rule_cannot_be_estimated() -> None:
    p = problem()
    with pytest.raises(midstream.DerivativeError, match="a single image"):
        estimate_smoothness(p.model, p.validation_inputs, p.validation_labels, learning_rate=0.1)


def test_level_1_moves_along_the_derivative_of_the_whole_batch() -> None:
    p, budget = problem(), Budget(0.5, low=-10.0, high=10.0)
    v = midstream.validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    along = midstream.mixed_derivative(p.model, p.inputs, p.labels, v)
    for side, sign in (("attackers", -1), ("defenders", 1)):
        chosen = Chosen(side, "level-1")  # type: ignore[arg-type]
        moved = move("level-1", chosen.make(beta=0.0), Batch(0, p.inputs, p.labels), view(chosen, p, budget))
        torch.testing.assert_close(moved - p.inputs, sign * 0.5 * budget.direction(along))


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "small.py"
    path.write_text(
        "from torch import nn\n\n\n"
        "def small(shape, classes):\n"
        "    norm = nn.BatchNorm1d(6)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), norm, nn.ReLU(), nn.Linear(6, classes))\n"
    )
    return f"{path}:small"


def test_only_the_training_step_moves_the_running_statistics(model: str) -> None:
    training = run("level-1", model=model, batch_norm="training")
    assert training.order == "double-backward"
    before = state(training)
    training.evaluate()
    training.predict(batch().inputs)
    assert equal(state(training), before)
    training.train(batch())
    after = state(training)
    assert after["model.2.num_batches_tracked"] == 1
    assert not torch.equal(after["model.2.running_mean"], before["model.2.running_mean"])
    assert not any(layer.training for layer in training.model.modules())


def test_v_is_taken_as_the_specification_says(model: str) -> None:
    plain = run("none", model=model, batch_norm="training")
    as_trained = run("none", model=model, batch_norm="training-with-v")
    for made in (plain, as_trained):
        made.train(batch())
    assert equal(plain.parameters(), as_trained.parameters())  # without a player, the same steps
    v, other = plain.validation_gradient(), as_trained.validation_gradient()
    assert not torch.allclose(v["1.weight"], other["1.weight"], rtol=0.1)


def test_a_wrong_defender_is_refused_when_the_run_is_made(model: str) -> None:
    with pytest.raises(PluginError, match=r"defender 'level-2' does not play against batch norm that trains"):
        run("level-2", model=model, batch_norm="training")
    run("level-2,steps=2", model=model, batch_norm="training")


def test_a_smallest_minibatch_of_one_example_is_refused(model: str) -> None:
    with pytest.raises(PluginError, match="the smallest minibatch of an epoch has one example"):
        run("none", model=model, batch_norm="training", batch_size=6)  # of 25 examples
    with pytest.raises(PluginError, match="takes minibatches of any size"):
        run("none", model=model, batch_norm="training", batch_sizes="any")


def test_a_validation_batch_of_one_example_is_refused(model: str) -> None:
    with pytest.raises(PluginError, match="validation_batch must be at least 2"):
        run("none", model=model, batch_norm="training-with-v", batch_size=1)
