"""Gradient matching, accumulative poisoning, label flipping and noise: what each must do."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from cases import CLASSES, CONV, TANH_MLP, Case, Problem
from torch import Tensor
from torch.nn.functional import cosine_similarity
from views import view

from midstream import Batch, Budget, plugins, validation_gradient
from midstream.attacks.accumulative import layer_cosines
from midstream.attacks.gradient_matching import dot, match_gradient
from midstream.attacks.label_flip import LabelFlip
from midstream.mathematics.budget import Norm
from midstream.mathematics.derivatives.gradients import Gradient
from midstream.players.referee import PlayerError, relabelled

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


def published(p: Problem, budget: Budget, weight: float) -> tuple[Tensor, Tensor]:
    """Return strike and preparation by autograd through everything, as the authors' code takes them."""
    theta = list(p.model.parameters())

    def layers(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        loss = torch.nn.functional.cross_entropy(p.model(x), y)  # a mean, as theirs
        return torch.autograd.grad(loss, theta, create_graph=True)

    def cosines(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        pairs = zip(one, other, strict=True)
        return torch.stack([cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in pairs]).sum()

    def ascend(value: Callable[[Tensor], Tensor]) -> Tensor:
        reached = p.inputs
        for _ in range(2):
            x = reached.clone().requires_grad_()
            uphill = budget.direction(torch.autograd.grad(value(x), x)[0])
            reached = budget.perturb(p.inputs, reached - p.inputs + budget.epsilon * uphill)
        return reached

    v, clean = layers(p.validation_inputs, p.validation_labels), layers(p.inputs, p.labels)
    struck = ascend(lambda x: -cosines(layers(x, p.labels), v))
    sharper = torch.autograd.grad(cosines(layers(struck, p.labels), v), theta)

    def unseen_and_sharper(x: Tensor) -> Tensor:
        own = layers(x, p.labels)
        return weight * cosines(own, clean) + cosines(own, sharper)

    return struck - p.inputs, ascend(unseen_and_sharper) - p.inputs


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("case", [TANH_MLP, CONV], ids=lambda case: case.name)
def test_accumulative_poisoning_is_its_authors(case: Case, norm: Norm, weight: float) -> None:
    p, budget = case.build(), Budget(0.1, norm, -9, 9)
    strike, preparation = published(p, budget, weight)
    name = f"accumulative,period=3,weight={weight:g}"
    for seq, expected in enumerate([preparation, preparation, strike, preparation]):
        assert torch.allclose(play(name, p, seq, budget), expected, rtol=1e-6, atol=1e-9)


def test_preparing_makes_the_strike_worse() -> None:
    p, rate = TANH_MLP.build(), 1e-3

    def alignment(moved: Tensor) -> float:
        """Return A after a step on the moved batch, of the same batch struck as before the step."""
        struck = p.inputs + play("accumulative,period=1", p, 0)
        step = gradients(p, moved)
        before = {name: value.clone() for name, value in p.model.state_dict().items()}
        p.model.load_state_dict({name: value - rate * step[name] for name, value in before.items()})
        found = layer_cosines(v_of(p), validation_gradient(p.model, struck, p.labels))
        p.model.load_state_dict(before)
        return found

    prepared = play("accumulative,weight=0", p, 0, replace(WIDE, epsilon=0.01))
    assert alignment(prepared) < alignment(torch.zeros_like(prepared)) < alignment(-prepared)


def test_a_layer_without_a_gradient_has_no_direction() -> None:
    p = TANH_MLP.build()
    torch.nn.init.zeros_(p.model[2].weight)  # type: ignore[index]
    found = play("accumulative", p, 0)
    assert found.isfinite().all()
    assert found.any()


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
