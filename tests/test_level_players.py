"""The players of level 2 and above: found by name, their options, their moves, their memory."""

import inspect
from typing import Any, Literal

import pytest
import torch
from cases import CONV, Problem
from torch import Tensor, nn
from views import BUDGET, RATE, view

from midstream import (
    Batch,
    Budget,
    level_1_attack,
    level_1_defense,
    level_2_vector,
    level_k_attack,
    level_k_defense,
    mixed_derivative,
    plugins,
)
from midstream.attacks import closed_form as closed_attackers
from midstream.attacks import levels as attackers
from midstream.defences import closed_form as closed_defenders
from midstream.defences import levels as defenders
from midstream.mathematics.level_k import INFINITE
from midstream.plugins import PluginError
from midstream.protocol.wire import decode_tensors, encode_tensors

Side = Literal["attackers", "defenders"]
sides = pytest.mark.parametrize("side", ["attackers", "defenders"])
MODULES = {"attackers": attackers, "defenders": defenders}
CLOSED_FORM = {"attackers": closed_attackers, "defenders": closed_defenders}


def play(side: Side, name: str, p: Problem, budget: Budget = BUDGET) -> Tensor:
    player = plugins.make(side, f"{name},beta=0" if side == "attackers" else name)
    move: Tensor = player.perturb(Batch(0, p.inputs, p.labels), view(p, budget))
    return move


def by_function(side: Side, p: Problem, steps: int, opponent: Budget = BUDGET, **sizes: float) -> Tensor:
    """Return the move of the function that a player of level k wraps."""
    shared: dict[str, Any] = {
        "validation_gradient": view(p).validation_gradient(),
        "budget": BUDGET,
        "steps": steps,
        "learning_rate": RATE,
        **sizes,
    }
    if side == "attackers":
        return level_k_attack(p.model, p.inputs, p.labels, opponent=opponent, **shared)
    return level_k_defense(p.model, p.inputs, p.labels, **shared)


@sides
@pytest.mark.parametrize(
    ("name", "k", "steps"),
    [
        ("level-2", 2, 0),
        ("level-2,steps=3", 2, 3),
        ("level-3", 3, 0),
        ("level-7", 7, 0),
        ("level-12", 12, 0),
        ("level-k,k=4", 4, 0),
    ],
)
def test_a_level_is_found_by_its_number(side: Side, name: str, k: int, steps: int) -> None:
    player = plugins.make(side, name)
    assert type(player) is MODULES[side].LevelK
    assert (player.k, player.steps, player.step_size) == (k, steps, INFINITE)
    assert type(plugins.make(side, "level-2-closed-form")) is CLOSED_FORM[side].Level2ClosedForm
    assert type(plugins.make(side, "level-1")) is MODULES[side].Level1


@sides
def test_every_option_is_converted(side: Side) -> None:
    options: dict[str, Any] = {
        "k": 5,
        "steps": 4,
        "step_size": 0.25,
        "share": 0.4,
        "smoothness": 1.04,
        "c": 0.01,
    }
    options |= {"max_steps": 9, "utility": "exact"}
    if side == "attackers":
        options |= {"opponent_step_size": 0.5, "opponent_epsilon": 2.0, "beta": 0.9}
        options |= {"at": "memory", "blend": "whole"}
        options |= {"validation": "minibatch", "goal": "evasion", "target": 1, "lookahead": 2}
    player = plugins.make(
        side, ",".join(["level-k", *(f"{name}={value}" for name, value in options.items())])
    )
    assert set(inspect.signature(type(player)).parameters) == set(options)
    found = {name: getattr(player, name) for name in options if name != "beta"}
    assert found == {name: value for name, value in options.items() if name != "beta"}
    assert [type(value) for value in found.values()] == [type(options[name]) for name in found]
    if side == "attackers":
        assert player.history.beta == 0.9


@sides
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("level-k", "attacker 'level-k' needs the option 'k'; write level-k,k="),
        ("level-0", "attacker 'level-0': level 0 is none; levels played by PGD begin at 2"),
        ("level-k,k=1", "attacker 'level-k,k=1': level 1 is level-1; levels played by PGD begin at 2"),
        ("level-k,k=-3", "levels played by PGD begin at 2"),
        ("level-2,steps=half", "option 'steps' of 'level-k' is 'half', not a whole number"),
        ("level-2,steps=-1", "attacker 'level-2,steps=-1': steps must be at least 1, not -1"),
        ("level-2,step_size=0", "attacker 'level-2,step_size=0': a step size must be above 0, not 0.0"),
        ("level-2,stps=3", "no option of attacker 'level-k' called 'stps'; did you mean 'steps'"),
        ("level-2-closed-form,steps=3", "no option of attacker 'level-2-closed-form' called 'steps'"),
        ("level-two", "there is no attacker called 'level-two'"),
    ],
)
def test_a_level_that_is_none(side: Side, name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message.replace("attacker", side[:-1])):
        plugins.make(side, name)


@sides
def test_the_player_makes_the_move_of_the_function(side: Side) -> None:
    p = CONV.build()
    # By the paper's rule at M = 0.203, c = 2: 2 M² k² (1 + M)^(k - 2), or k where that is less.
    for name, steps in {"level-2": 2, "level-3": 3, "level-k,k=6": 7, "level-6,steps=1": 1}.items():
        name += ",smoothness=0.203"
        assert torch.equal(play(side, name, p), by_function(side, p, steps))
    assert torch.equal(play(side, "level-2,smoothness=1,c=1", p), by_function(side, p, 4))
    finite = by_function(side, p, 2, step_size=0.2)
    assert torch.equal(play(side, "level-2,steps=2,step_size=0.2", p), finite)


@sides
@pytest.mark.parametrize(("epsilon", "steps"), [(0.5, 4), (3.0, 7)])
def test_the_rule_counts_by_the_players_own_budget(
    side: Side, epsilon: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, taken = CONV.build(), []

    def counted(model: nn.Module, inputs: Tensor, *others: Any, **options: Any) -> Tensor:
        taken.append(model)
        return mixed_derivative(model, inputs, *others, **options)

    monkeypatch.setattr("midstream.mathematics.level_k.mixed_derivative", counted)
    play(side, "level-4,smoothness=0.203", p, Budget(epsilon))
    assert len(taken) == (2 * steps - 1 if side == "attackers" else steps)


def test_the_attacker_expects_the_opponent_that_it_is_told_of() -> None:
    p = CONV.build()
    other = by_function("attackers", p, 2, Budget(0.1))
    assert torch.equal(play("attackers", "level-2,steps=2,opponent_epsilon=0.1", p), other)
    assert not torch.allclose(play("attackers", "level-2,steps=2", p), other)
    assert torch.equal(
        play("attackers", "level-2,steps=2,opponent_step_size=0.5", p),
        by_function("attackers", p, 2, opponent_step_size=0.5),
    )


@sides
def test_the_closed_form_moves_along_the_vector_of_level_2(side: Side) -> None:
    p = CONV.build()
    v = view(p).validation_gradient()
    z, t = p.validation_inputs, p.validation_labels
    u = level_2_vector(p.model, p.inputs, p.labels, z, t, learning_rate=RATE, validation_gradient=v)
    level_1 = level_1_attack if side == "attackers" else level_1_defense
    expected = level_1(p.model, p.inputs, p.labels, validation_gradient=u, budget=BUDGET)
    assert torch.equal(play(side, "level-2-closed-form", p), expected)


@pytest.mark.parametrize("name", ["level-2", "level-3,step_size=0.3", "level-2-closed-form"])
def test_an_attacker_taken_up_from_its_state_continues_bit_for_bit(name: str) -> None:
    p, q = CONV.build(torch.float32), Problem(*vars(CONV.build(torch.float32)).values())
    whole, first_half, second_half = (plugins.make("attackers", name) for _ in range(3))
    for parameter in q.model.parameters():
        parameter.data.mul_(1.5)  # the model has moved on at the second visit
    batch = Batch(0, p.inputs, p.labels)
    assert torch.equal(whole.perturb(batch, view(p)), first_half.perturb(batch, view(p)))
    second_half.load_state_dict(decode_tensors(encode_tensors(first_half.state_dict())))
    expected = whole.perturb(batch, view(q))
    assert torch.equal(second_half.perturb(batch, view(q)), expected)
    assert not torch.equal(plugins.make("attackers", name).perturb(batch, view(q)), expected)


def test_a_level_is_named_once() -> None:
    with pytest.raises(PluginError, match="names its level twice"):
        plugins.make("attackers", "level-2,k=5")
