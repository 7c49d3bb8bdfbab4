"""Players that follow the exact utility: their moves, what they need to see, and what is refused."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from cases import TANH_MLP, Problem
from torch import Tensor

from midstream import (
    Adam,
    Batch,
    Budget,
    Sgd,
    TrainingStep,
    View,
    cross_entropy,
    plugins,
    unrolled_utility_gradient,
    utility,
    validation_gradient,
)
from midstream.mathematics.level_k import descent, nested_ascent
from midstream.mathematics.objective import objective
from midstream.players.referee import PlayerError, move
from midstream.plugins import PluginError

Side = Literal["attackers", "defenders"]
sides = pytest.mark.parametrize("side", ["attackers", "defenders"])
BUDGET = Budget(epsilon=0.5)
STEPS: dict[str, TrainingStep] = {"sgd": Sgd(0.3), "adam": Adam(0.05, epsilon=1e-3)}
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


def view(p: Problem, step: TrainingStep, upcoming: list[Batch] | None = None) -> View:
    seen = View(
        model=p.model,
        parameters_version=0,
        loss=cross_entropy,
        learning_rate=0.3,
        validation_inputs=p.validation_inputs,
        validation_labels=p.validation_labels,
        budget=BUDGET,
        seed=0,
        role="attacker",
        gradient_source=lambda: validation_gradient(p.model, p.validation_inputs, p.validation_labels),
        step_source=lambda: step,
    )
    return seen if upcoming is None else replace(seen, batch_source=lambda count: upcoming[:count])


def play(side: Side, name: str, p: Problem, seen: View) -> Tensor:
    player = plugins.make(side, f"{name},beta=0" if side == "attackers" else name)
    perturbation: Tensor = player.perturb(Batch(0, p.inputs, p.labels), seen)
    return perturbation


def uphill(p: Problem, step: TrainingStep, upcoming: list[Batch] | None = None, **options: Any) -> Any:
    later = [(batch.inputs, batch.labels) for batch in upcoming or []]
    dval = options.pop("dval", (p.validation_inputs, p.validation_labels))
    return lambda at: unrolled_utility_gradient(
        p.model, at, p.labels, *dval, step=step, upcoming=later, **options
    )


def to_come(p: Problem, count: int) -> list[Batch]:
    return [Batch(i + 1, p.inputs.flip(0) * (i + 1) / 5, p.labels.flip(0)) for i in range(count)]


@every_step
def test_at_level_1_they_go_to_the_edge_along_the_gradient(step: TrainingStep) -> None:
    p = TANH_MLP.build()
    edge = BUDGET.epsilon * BUDGET.direction(uphill(p, step)(p.inputs))
    assert torch.equal(play("attackers", "level-1,utility=exact", p, view(p, step)), edge)
    assert torch.equal(play("defenders", "level-1,utility=exact", p, view(p, step)), -edge)
    assert not torch.allclose(play("attackers", "level-1", p, view(p, step)), edge)


@every_step
def test_at_level_k_they_are_pgd_on_it(step: TrainingStep) -> None:
    p, other = TANH_MLP.build(), Budget(0.2)
    options = "level-3,utility=exact,steps=3,step_size=0.4"
    attack = nested_ascent(
        uphill(p, step),
        p.inputs,
        budget=BUDGET,
        opponent=other,
        steps=3,
        step_size=0.4,
        opponent_step_size=0.1,
    )
    more = ",opponent_epsilon=0.2,opponent_step_size=0.1"
    assert torch.equal(play("attackers", options + more, p, view(p, step)), attack)
    defense = descent(uphill(p, step), p.inputs, budget=BUDGET, steps=3, step_size=0.4)
    assert torch.equal(play("defenders", options, p, view(p, step)), defense)


@every_step
@pytest.mark.parametrize("lookahead", [1, 3])
def test_lookahead_takes_the_loss_after_the_batches_to_come(step: TrainingStep, lookahead: int) -> None:
    p = TANH_MLP.build()
    name = f"level-1,utility=exact,lookahead={lookahead}"
    found = play("attackers", name, p, view(p, step, to_come(p, 5)))
    gradient = uphill(p, step, to_come(p, lookahead))(p.inputs)
    assert torch.equal(found, BUDGET.epsilon * BUDGET.direction(gradient))
    assert not torch.allclose(found, play("attackers", "level-1,utility=exact", p, view(p, step)))
    at_the_end = play("attackers", name, p, view(p, step, []))
    assert torch.equal(at_the_end, play("attackers", "level-1,utility=exact", p, view(p, step)))


@pytest.mark.parametrize("goal", ["conversion", "evasion"])
def test_a_targeted_attacker_follows_its_own_loss(goal: Any) -> None:
    p, step = TANH_MLP.build(), Sgd(0.3)
    raised = objective(goal, p.validation_inputs, p.validation_labels, target=1)
    gradient = uphill(p, step, dval=(raised.inputs, raised.labels), sign=raised.sign)
    expected = BUDGET.epsilon * BUDGET.direction(gradient(p.inputs))
    assert torch.equal(play("attackers", f"{goal},target=1,utility=exact", p, view(p, step)), expected)


def test_the_minibatch_can_stand_for_the_validation_set() -> None:
    p, step = TANH_MLP.build(), Sgd(0.3)
    expected = BUDGET.epsilon * BUDGET.direction(uphill(p, step, dval=(p.inputs, p.labels))(p.inputs))
    name = "level-1,utility=exact,validation=minibatch"
    assert torch.equal(play("attackers", name, p, view(p, step)), expected)
    nobody = Problem(p.model, p.inputs, torch.zeros_like(p.labels), p.validation_inputs, p.validation_labels)
    absent = "evasion,target=2,utility=exact,validation=minibatch"
    assert not play("attackers", absent, nobody, view(p, step)).any()


@sides
def test_the_smaller_the_step_the_nearer_to_the_linearised_move(side: Side) -> None:
    p = TANH_MLP.build()
    apart = [
        (
            play(side, "level-1,utility=exact", p, view(p, Sgd(rate)))
            - play(side, "level-1", p, view(p, Sgd(rate)))
        ).norm()
        for rate in (1e-1, 1e-2, 1e-3)
    ]
    assert apart[0] > 10 * apart[2]
    assert apart[2] < 1e-2


def test_within_a_small_ball_it_gains_more_than_the_linearised_attack() -> None:
    p, step, ball = TANH_MLP.build(), Sgd(0.6), Budget(epsilon=0.01)

    def gain(name: str) -> float:
        moved = play("attackers", name, p, replace(view(p, step), budget=ball))
        inputs = ball.perturb(p.inputs, moved)
        value = utility(
            p.model, inputs, p.labels, p.validation_inputs, p.validation_labels, learning_rate=0.6
        )
        return float(value)

    assert gain("level-1,utility=exact") > gain("level-1") + 1e-4


@sides
@pytest.mark.parametrize("name", ["level-1,utility=exact", "level-2,utility=exact,steps=2"])
def test_the_model_is_as_it_was(side: Side, name: str) -> None:
    p = TANH_MLP.build()
    before = deepcopy(p.model.state_dict())
    play(side, name, p, view(p, STEPS["adam"]))
    assert all(torch.equal(value, before[key]) for key, value in p.model.state_dict().items())
    assert all(value.grad is None for value in p.model.parameters())


@pytest.mark.parametrize(
    ("side", "name", "message"),
    [
        ("attackers", "level-1,lookahead=2", "lookahead=2 needs the exact utility; add utility=exact"),
        ("attackers", "level-2,utility=exact,lookahead=-1", "lookahead must be at least 0, not -1"),
        ("attackers", "level-1,utility=exakt", "'exakt'; did you mean 'exact'"),
        (
            "defenders",
            "level-1,utility=exact,lookahead=1",
            "no option of defender 'level-1' called 'lookahead'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(side: Side, name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        plugins.make(side, name)


def test_a_host_that_does_not_show_enough_is_told_of() -> None:
    p = TANH_MLP.build()
    seen = view(p, Sgd(0.1))
    batch = Batch(4, p.inputs, p.labels)
    name = "level-1,utility=exact,lookahead=2"
    with pytest.raises(PlayerError, match="the 2 batches after this one are known only to an attacker"):
        move(name, plugins.make("attackers", name), batch, seen)
    blind = View(**{key: value for key, value in vars(seen).items() if key != "step_source"})
    with pytest.raises(PlayerError, match="does not show it the training optimizer"):
        move("exact", plugins.make("attackers", "level-1,utility=exact"), batch, blind)
