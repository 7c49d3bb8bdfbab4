"""Level k against a loop written out from the paper, and its limits."""

import math
from dataclasses import replace

import pytest
import torch
from cases import CASES, CONV, NAMES, TANH_MLP, Case, Problem
from level_k_players import RATE, Play, gradient
from torch import Tensor

from midstream import (
    Budget,
    level_1_attack,
    level_1_defense,
    mixed_derivative,
    mixed_derivative_by_double_backward,
)
from midstream.mathematics.budget import Norm
from midstream.mathematics.level_k import INFINITE
from midstream.mathematics.level_k_rules import step_size_by_rule, steps_by_rule

both_norms = pytest.mark.parametrize("norm", ["l2", "linf"])


@both_norms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_one_infinite_step_is_level_1_to_the_bit(case: Case, norm: Norm, dtype: torch.dtype) -> None:
    p = case.build(dtype)
    v, budget = gradient(p), Budget(0.5, norm)
    attack = level_1_attack(p.model, p.inputs, p.labels, validation_gradient=v, budget=budget)
    defense = level_1_defense(p.model, p.inputs, p.labels, validation_gradient=v, budget=budget)
    for rate in (RATE, 1e-30, 0.0):
        one = Play(norm, steps=1, rate=rate)
        assert torch.equal(one.attack(p), attack)
        assert torch.equal(one.defend(p), defense)


def by_hand(p: Problem, play: Play) -> list[tuple[Tensor, Tensor]]:
    """Return `ε δ` and `ε σ` after each step of equations 9 and 10 as the paper has them, on unit balls."""
    v, ball = gradient(p), Budget(1.0, play.norm)

    def utility_gradient(image: Tensor) -> Tensor:
        return -RATE * mixed_derivative_by_double_backward(p.model, image, p.labels, v)

    def moved(u: Tensor, g: Tensor, size: float, epsilon: float) -> Tensor:
        if size == math.inf:
            return ball.direction(g)
        u = u + size / epsilon * g
        if play.norm == "linf":
            return u.clamp(-1, 1)
        norm: Tensor = u.flatten(1).norm(dim=1).reshape(-1, *[1] * (u.dim() - 1))
        return u / norm * norm.clamp(max=1)

    def image(delta: Tensor, sigma: Tensor) -> Tensor:
        return ((p.inputs + play.epsilon * delta).clamp(0, 1) + play.opponent * sigma).clamp(0, 1)

    delta = sigma = answer = torch.zeros_like(p.inputs)
    found = []
    for _ in range(play.steps):
        g = utility_gradient(image(delta, sigma))
        delta = moved(delta, g, play.step_size, play.epsilon)
        g = utility_gradient(image(delta, sigma))
        sigma = moved(sigma, -g, play.opponent_step_size, play.opponent)
        g = utility_gradient((p.inputs + play.epsilon * answer).clamp(0, 1))
        answer = moved(answer, -g, play.step_size, play.epsilon)
        found.append((play.epsilon * delta, play.epsilon * answer))
    return found


SIZES = [(INFINITE, INFINITE), (0.1, 0.05), (INFINITE, 0.3), (0.2, INFINITE), (5.0, 7.0)]


@both_norms
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("case", [TANH_MLP, CONV], ids=lambda case: case.name)
def test_it_is_the_loop_of_the_paper(case: Case, sizes: tuple[float, float], norm: Norm) -> None:
    p, most = case.build(), Play(norm, steps=6, step_size=sizes[0], opponent_step_size=sizes[1])
    expected = by_hand(p, most)
    for steps in (1, 2, 3, 6):
        play = replace(most, steps=steps)
        attack, defense = expected[steps - 1]
        assert torch.allclose(play.attack(p), attack, rtol=1e-9, atol=1e-12)
        assert torch.allclose(play.defend(p), defense, rtol=1e-9, atol=1e-12)
    lengths = Budget(1.0, norm).size(attack)
    assert attack.any()
    if sizes[0] == 0.1:
        assert lengths.max() < 0.4  # short of the projection
    if sizes[0] == 5.0:
        assert lengths.min() > 0.499  # stopped by it


@both_norms
def test_a_small_step_goes_in_proportion_to_the_gradient(norm: Norm) -> None:
    p, play = CONV.build(), Play(norm, steps=1, step_size=1e-3)
    derivative = mixed_derivative(p.model, p.inputs, p.labels, gradient(p))
    assert torch.allclose(play.attack(p), -RATE * 1e-3 * derivative, rtol=1e-12)
    assert torch.allclose(play.defend(p), RATE * 1e-3 * derivative, rtol=1e-12)
    if norm == "l2":
        along = (play.attack(p) * Play(steps=1).attack(p)).flatten(1).sum(dim=1) / 0.5
        assert torch.allclose(along, RATE * 1e-3 * derivative.flatten(1).norm(dim=1))


@both_norms
def test_an_infinite_step_is_the_limit_of_large_ones(norm: Norm) -> None:
    p, play = TANH_MLP.build(), Play(norm)
    large = replace(play, step_size=1e12, opponent_step_size=1e12)
    assert torch.allclose(large.attack(p), play.attack(p), rtol=1e-9)
    assert torch.allclose(large.defend(p), play.defend(p), rtol=1e-9)


@pytest.mark.parametrize(
    ("smoothness", "epsilon", "c", "counts"),
    [(0.203, 3.0, 2.0, [2, 3, 7]), (0.351, 2.0, 0.5, [2, 3, 6]), (1.04, 4.0, 0.01, [2, 3, 16])],
    ids=["mnist", "cifar10", "photos"],
)
def test_the_papers_counts(smoothness: float, epsilon: float, c: float, counts: list[int]) -> None:
    assert [steps_by_rule(k, smoothness=smoothness, epsilon=epsilon, c=c) for k in (2, 3, 4)] == counts
    deeper = [steps_by_rule(k, smoothness=smoothness, epsilon=epsilon, c=c) for k in range(2, 9)]
    assert deeper == sorted(set(deeper))


def test_the_papers_step_size() -> None:
    sizes = [step_size_by_rule(k, smoothness=0.5, epsilon=3.0) for k in (2, 3, 4, 5)]
    assert sizes == pytest.approx([1 / 1, 1 / (2.25 * 4), 1 / (4 * 16), 1 / (6.25 * 64)])
