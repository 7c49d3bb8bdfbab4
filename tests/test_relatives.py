"""Gradient matching, accumulative poisoning, label flipping and noise: what each must do."""

import math
from dataclasses import replace

import pytest
import torch
from cases import CLASSES, CONV, TANH_MLP, Problem
from test_curvature_attacks import view
from torch import Tensor

from midstream import Batch, Budget, level_1_attack, level_1_defense, plugins, validation_gradient
from midstream.attacks.gradient_matching import dot, match_gradient
from midstream.attacks.label_flip import LabelFlip
from midstream.gradients import Gradient
from midstream.players import PlayerError, relabelled

WIDE = Budget(0.5, low=-9, high=9)


def gradients(p: Problem, moved: Tensor) -> Gradient:
    return validation_gradient(p.model, p.inputs + moved, p.labels)


def v_of(p: Problem) -> Gradient:
    return validation_gradient(p.model, p.validation_inputs, p.validation_labels)


def cosine(one: Gradient, other: Gradient) -> float:
    return dot(one, other) / math.sqrt(dot(one, one) * dot(other, other))


def test_the_gradients_turn_further_step_by_step() -> None:
    p = TANH_MLP.build()
    against = {name: -value for name, value in v_of(p).items()}
    turned = [cosine(gradients(p, torch.zeros_like(p.inputs)), against)]
    for steps in range(1, 9):
        found = match_gradient(
            p.model,
            p.inputs,
            p.labels,
            against,
            budget=replace(WIDE, epsilon=9.0),
            steps=steps,
            step_size=0.01,
        )
        turned.append(cosine(gradients(p, found), against))
    assert turned == sorted(turned)
    assert turned[-1] > turned[0] + 0.1


def test_one_small_step_is_along_the_derivative_of_the_cosine() -> None:
    p = CONV.build()
    against = {name: -value for name, value in v_of(p).items()}
    x = p.inputs.clone().requires_grad_()
    own = torch.autograd.grad(
        torch.nn.functional.cross_entropy(p.model(x), p.labels, reduction="sum"),
        list(p.model.parameters()),
        create_graph=True,
    )
    flat, wanted = (torch.cat([part.flatten() for part in parts]) for parts in (own, against.values()))
    derivative = torch.autograd.grad(flat @ wanted / flat.norm() / wanted.norm(), x)[0]
    found = match_gradient(p.model, p.inputs, p.labels, against, budget=WIDE, steps=1, step_size=0.1)
    assert torch.allclose(found, 0.1 * WIDE.epsilon * WIDE.direction(derivative), rtol=1e-6, atol=1e-9)


def play(text: str, p: Problem, seq: int, budget: Budget = WIDE) -> Tensor:
    found: Tensor = plugins.make("attackers", text).perturb(Batch(seq, p.inputs, p.labels), view(p, budget))
    return found


def test_a_strike_is_level_1_and_staying_unseen_is_its_defence() -> None:
    p = CONV.build()
    strike = level_1_attack(p.model, p.inputs, p.labels, validation_gradient=v_of(p), budget=WIDE)
    help_ = level_1_defense(p.model, p.inputs, p.labels, validation_gradient=v_of(p), budget=WIDE)
    struck = [torch.equal(play("accumulative,period=3", p, seq), strike) for seq in range(6)]
    assert struck == [False, False, True, False, False, True]
    assert torch.allclose(play("accumulative,period=3,weight=0", p, 0), help_, rtol=1e-6, atol=1e-9)


def test_preparing_makes_the_strike_worse() -> None:
    p, rate = TANH_MLP.build(), 1e-3

    def strength(moved: Tensor) -> float:
        """Return `⟨v, g⟩` after a step on the moved batch, g of the same batch struck as before the step."""
        struck = p.inputs + play("accumulative,period=1", p, 0)
        step = gradients(p, moved)
        before = {name: value.clone() for name, value in p.model.state_dict().items()}
        p.model.load_state_dict({name: value - rate * step[name] for name, value in before.items()})
        found = dot(v_of(p), validation_gradient(p.model, struck, p.labels))
        p.model.load_state_dict(before)
        return found

    small = replace(WIDE, epsilon=0.01)
    prepared = play("accumulative,weight=1e6", p, 0, small)
    opposite = -prepared
    assert strength(prepared) < strength(torch.zeros_like(prepared)) < strength(opposite)


def test_noise_is_as_large_as_an_attack_and_another_for_each_batch() -> None:
    p = CONV.build(torch.float32)
    first, again, other = (play("noise", p, seq) for seq in (0, 0, 1))
    assert torch.allclose(WIDE.size(first), torch.full((len(first),), 0.5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_labels_are_flipped_to_other_classes_at_a_rate(rate: float) -> None:
    p, size = TANH_MLP.build(), 3000
    labels = torch.arange(size) % CLASSES
    batch = Batch(0, torch.rand(size, 5), labels)
    flipped = relabelled("label-flip", LabelFlip(rate=rate), batch, view(p, WIDE))
    assert (flipped != labels).double().mean().item() == pytest.approx(rate, abs=0.03)
    counts = torch.stack([(flipped[labels == 0] == other).sum() for other in (1, 2)])
    assert abs(counts[0] - counts[1]) < 0.2 * size / CLASSES
    assert flipped.min() >= 0
    assert flipped.max() < CLASSES


class Mislabelling(LabelFlip):
    """Returns as labels what it was given."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def relabel(self, batch: Batch, view: object) -> Tensor:  # noqa: ARG002
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (torch.zeros(2, dtype=torch.int64), r"torch.int64 of shape \(2,\) as labels at batch 4"),
        (torch.zeros(6), "torch.float32 of shape"),
        ("all", "returned a str as labels"),
        (KeyError("none"), r"failed at the labels of batch 4: KeyError\('none'\)"),
    ],
)
def test_labels_that_are_none_stop_the_batch(answer: object, words: str) -> None:
    p = TANH_MLP.build()
    with pytest.raises(PlayerError, match=words):
        relabelled("mine", Mislabelling(answer), Batch(4, p.inputs, p.labels), view(p, WIDE))
