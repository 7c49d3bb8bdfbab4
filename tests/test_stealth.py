"""Attackers that know the checker: what they give up, and for what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import CONV, Problem
from views import view as shown

from midstream import Batch, Budget, View, plugins, read_results
from midstream.checkers.knn import Knn
from midstream.checkers.loss import Loss
from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial_game import play_trial
from midstream.players.scores.scored import Scoring
from midstream.players.wrappers.stealth import Stealth

BUDGET = Budget(0.5)


@pytest.fixture(scope="module")
def p() -> Problem:
    return CONV.build(torch.float32, batch=12, validation=40)


def view(p: Problem) -> View:
    return replace(shown(p, BUDGET))


def batch(p: Problem) -> Batch:
    return Batch(0, p.inputs, p.labels)


@pytest.mark.parametrize("checker", ["loss", "confidence", "gradient-norm", "knn"])
def test_more_stealth_is_less_suspicion_and_less_utility(checker: str, p: Problem) -> None:
    seen, made = view(p), plugins.make_gate(checker).checker
    assert isinstance(made, Scoring)
    plain = plugins.make("attackers", "level-1,beta=0").perturb(batch(p), seen)
    utility, score = [], []
    for weight in (0, 0.5, 1):
        text = f"level-1,beta=0,stealth={weight},stealth_checker={checker}"
        moved = plugins.make("attackers", text).perturb(batch(p), seen)
        sent = BUDGET.moved(p.inputs, moved)
        assert (BUDGET.size(sent - p.inputs) <= 0.5 + 1e-5).all()
        utility.append(float(((sent - p.inputs) * plain).sum()))
        with torch.no_grad():
            score.append(float(made.score(sent, p.labels, seen).mean()))
        if weight == 0:
            assert torch.equal(moved, plain)
    assert utility[0] > utility[1] > utility[2]
    assert score[0] > score[1] > score[2]


class Some:
    """Moves every second example, and changes all labels."""

    def perturb(self, batch: Batch, view: View) -> torch.Tensor:
        moves = view.budget.epsilon * view.budget.direction(torch.ones_like(batch.inputs))
        moves[::2] = 0
        return moves

    def relabel(self, batch: Batch, view: View) -> torch.Tensor:  # noqa: ARG002
        return (batch.labels + 1) % 3


def test_an_example_that_is_not_attacked_stays_as_it_is(p: Problem) -> None:
    hidden = Stealth(inner=Some(), checker=Loss(), stealth=0.7)
    moved = hidden.perturb(batch(p), view(p))
    assert not moved[::2].any()
    assert moved[1::2].flatten(1).any(1).all()
    assert torch.equal(hidden.relabel(batch(p), view(p)), (p.labels + 1) % 3)


def test_at_full_weight_it_hides_only(p: Problem) -> None:
    hidden = Stealth(inner=Some(), checker=Knn(), stealth=1, stealth_steps=20)
    moved = hidden.perturb(batch(p), view(p))
    with torch.no_grad():
        before = Knn().score(p.inputs, p.labels, view(p))
        after = Knn().score(BUDGET.moved(p.inputs, moved), p.labels, view(p))
    assert (after[1::2] < before[1::2]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level-1,stealth=2", "stealth is a weight"),
        ("level-1,stealth=0.5,stealth_steps=0", "stealth_steps is at least 1"),
        ("level-1,stealth=0.5,stealth_checker=drift", "drift cannot be differentiated"),
        ("level-1,stealth=0.5,stealth_checker=lss", "did you mean 'loss'"),
        ("level-1,stelth=0.5", "did you mean 'stealth'"),
    ],
)
def test_what_cannot_hide_is_refused(text: str, message: str) -> None:
    with pytest.raises(plugins.PluginError, match=message):
        plugins.make("attackers", text)


def test_the_memory_is_the_attackers_own(p: Problem) -> None:
    text = "level-1,beta=0.9,stealth=0.5,fraction=0.5"
    one, other = plugins.make("attackers", text), plugins.make("attackers", text)
    one.perturb(batch(p), view(p))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.perturb(batch(p), view(p)), other.perturb(batch(p), view(p)))


def test_a_sweep_draws_the_frontier(tmp_path: Path) -> None:
    attackers = [f"level-1,beta=0,fraction=0.4,stealth={weight}" for weight in (0, 0.8)]
    small = {"train_size": 25, "validation_size": 40, "batch_size": 10, "epochs": 1}
    for trial in trials_of([{"attacker": attackers, "checker": "loss", **small}]):
        play_trial(trial, Place(tmp_path, device="cpu"), lambda *_: None)
    results = read_results(tmp_path)
    found = [cell.spread.mean for cell in results.table("checker.auc").cells]
    assert len(found) == 2
    assert all(0 <= one <= 1 for one in found)
    (axes,) = results.plot("frontier").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("checker.auc", "test accuracy")
    assert np.allclose(sorted(np.asarray(axes.lines[0].get_xdata(), float)), sorted(found))
