"""What a targeted attacker raises, against sums written by hand; and attackers without a validation set."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import CLASSES, CONV, Problem
from torch import Tensor
from views import BUDGET, RATE, view

from midstream import Batch, Gradient, cross_entropy, level_1_attack, level_2_vector, plugins
from midstream import validation_gradient as v_of
from midstream.mathematics.objective import Goal, objective
from midstream.plugins import PluginError

TARGET = 1


def by_hand(p: Problem, goal: Goal) -> Gradient:
    """Differentiate the objective one example at a time."""
    p.model.zero_grad()
    for z, label in zip(p.validation_inputs, p.validation_labels.tolist(), strict=True):
        logits = p.model(z[None])
        if goal == "conversion" and label != TARGET:
            (-F.cross_entropy(logits, torch.tensor([TARGET]))).backward()  # type: ignore[no-untyped-call]
        elif goal == "untargeted" or (goal == "evasion" and label == TARGET):
            F.cross_entropy(logits, torch.tensor([label])).backward()  # type: ignore[no-untyped-call]
    found = {n: q.grad.clone() for n, q in p.model.named_parameters() if q.grad is not None}
    p.model.zero_grad()
    return found


@pytest.mark.parametrize("goal", ["untargeted", "conversion", "evasion"])
def test_the_gradient_is_that_of_the_sum_written_out(goal: Goal) -> None:
    p = CONV.build()
    assert {TARGET} < set(p.validation_labels.tolist())
    found = objective(goal, p.validation_inputs, p.validation_labels, target=TARGET).gradient(p.model)
    for name, value in by_hand(p, goal).items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


def test_an_empty_set_pulls_nowhere() -> None:
    p = CONV.build()
    nobody = objective("evasion", p.validation_inputs, p.validation_labels, target=CLASSES)
    assert all(not value.any() for value in nobody.gradient(p.model).values())


@pytest.mark.parametrize("goal", ["conversion", "evasion"])
@pytest.mark.parametrize("named", [True, False])
def test_a_targeted_attacker_follows_its_own_loss(goal: Goal, named: bool) -> None:
    p = CONV.build()
    text = f"{goal},target={TARGET},beta=0" if named else f"level-1,goal={goal},target={TARGET},beta=0"
    move = plugins.make("attackers", text).perturb(Batch(0, p.inputs, p.labels), view(p))
    expected = level_1_attack(
        p.model, p.inputs, p.labels, validation_gradient=by_hand(p, goal), budget=BUDGET
    )
    torch.testing.assert_close(move, expected, rtol=1e-9, atol=1e-12)
    untargeted = plugins.make("attackers", "level-1,beta=0").perturb(Batch(0, p.inputs, p.labels), view(p))
    assert not torch.allclose(move, untargeted)


@pytest.mark.parametrize(("goal", "sign"), [("conversion", -1.0), ("evasion", 1.0)])
def test_level_2_of_a_targeted_attacker_curves_with_its_own_loss(goal: Goal, sign: float) -> None:
    p = CONV.build()
    text = f"level-2-closed-form,goal={goal},target={TARGET},beta=0"
    move = plugins.make("attackers", text).perturb(Batch(0, p.inputs, p.labels), view(p))
    loss = objective(goal, p.validation_inputs, p.validation_labels, target=TARGET)
    # The gradient of the objective after the step, to second order, by differences of the true gradient.
    step = v_of(p.model, p.inputs, p.labels)
    small = 1e-6
    names: dict[str, Tensor] = dict(p.model.named_parameters())
    with torch.no_grad():
        for name, value in step.items():
            names[name] -= small * value
    after = loss.gradient(p.model)
    with torch.no_grad():
        for name, value in step.items():
            names[name] += small * value
    before = loss.gradient(p.model)
    u = {n: before[n] + RATE * (after[n] - before[n]) / small for n in before}
    expected = level_1_attack(p.model, p.inputs, p.labels, validation_gradient=u, budget=BUDGET)
    torch.testing.assert_close(move, expected, rtol=1e-4, atol=1e-6)
    options: dict[str, Any] = {"learning_rate": RATE, "validation_gradient": before, "sign": sign}
    exactly = level_2_vector(p.model, p.inputs, p.labels, loss.inputs, loss.labels, **options)
    same = level_1_attack(p.model, p.inputs, p.labels, validation_gradient=exactly, budget=BUDGET)
    torch.testing.assert_close(move, same)


@pytest.mark.parametrize("name", ["level-1", "level-2,steps=2", "level-2-closed-form", "influence,damping=9"])
def test_without_a_validation_set_the_batch_takes_its_place(name: str) -> None:
    p = CONV.build()
    own = Problem(p.model, p.inputs, p.labels, p.inputs, p.labels)
    batch = Batch(0, p.inputs, p.labels)
    blind = plugins.make("attackers", f"{name},validation=minibatch,beta=0").perturb(batch, view(p))
    assert torch.equal(blind, plugins.make("attackers", f"{name},beta=0").perturb(batch, view(own)))
    assert not torch.equal(blind, plugins.make("attackers", f"{name},beta=0").perturb(batch, view(p)))


def test_a_target_that_no_validation_example_has_is_said() -> None:
    p = CONV.build()
    player = plugins.make("attackers", "evasion,target=7")
    with pytest.raises(ValueError, match="there is no validation example for evasion of class 7"):
        player.perturb(Batch(0, p.inputs, p.labels), view(p))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conversion", "a conversion attack needs the class it is about; add target=…"),
        ("level-1,target=3", "target=3 is for a targeted goal; add goal=conversion or goal=evasion"),
        (
            "level-1,goal=evade",
            "there is no value of 'goal' of 'level-1' called 'evade'; did you mean 'evasion'",
        ),
        ("level-1,validation=none", "there is no value of 'validation' of 'level-1' called 'none'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(text: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        plugins.make("attackers", text)


def test_the_loss_is_the_one_that_the_view_names() -> None:
    p = CONV.build()
    half = objective("untargeted", p.validation_inputs, p.validation_labels).gradient(
        p.model, loss=lambda outputs, labels: cross_entropy(outputs, labels) / 2
    )
    for name, value in v_of(p.model, p.validation_inputs, p.validation_labels).items():
        torch.testing.assert_close(2 * half[name], value)
