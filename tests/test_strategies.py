"""Level 1 against its definition: the first-order answer to one virtual SGD step."""

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, CONV, NAMES, TANH_MLP, Case, Problem, ScalarRegression, squares
from torch import Tensor
from torch.func import functional_call

from midstream import Budget, level_0, level_1_attack, level_1_defense, utility, validation_gradient
from midstream.mathematics.budget import Norm

LEVEL_1 = {"attack": level_1_attack, "defense": level_1_defense}


def attack(p: Problem, budget: Budget) -> Tensor:
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    return level_1_attack(p.model, p.inputs, p.labels, validation_gradient=v, budget=budget)


def exact_gradient(p: Problem, learning_rate: float) -> Tensor:
    """`∇x U_t`, through the parameters that one SGD step on the batch arrives at."""
    x = p.inputs.clone().requires_grad_()
    named = dict(p.model.named_parameters())
    loss = F.cross_entropy(p.model(x), p.labels, reduction="sum")
    steps = torch.autograd.grad(loss, list(named.values()), create_graph=True)
    after = {n: w - learning_rate * g for (n, w), g in zip(named.items(), steps, strict=True)}
    outputs = functional_call(p.model, after, (p.validation_inputs,))
    return torch.autograd.grad(F.cross_entropy(outputs, p.validation_labels, reduction="sum"), x)[0]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_level_1_is_the_limit_of_a_vanishing_step(case: Case) -> None:
    p = case.build()
    direction = attack(p, Budget(epsilon=1.0))

    def cosine(learning_rate: float) -> Tensor:
        exact = Budget(epsilon=1.0).direction(exact_gradient(p, learning_rate))
        return (direction * exact).flatten(1).sum(dim=1)

    assert (1 - cosine(1e-7)).abs().max() < 1e-9
    assert cosine(0.3).mean() < 0.999


def test_the_error_of_level_1_is_of_first_order_in_the_step() -> None:
    p = TANH_MLP.build()
    limit = attack(p, Budget(epsilon=1.0))

    def error(learning_rate: float) -> float:
        exact = exact_gradient(p, learning_rate)
        return float((exact / exact.norm(dim=1, keepdim=True) - limit).norm())

    assert error(1e-3) / error(5e-4) == pytest.approx(2, rel=0.05)


def regression(x: Tensor) -> dict[str, Tensor]:
    model, z = ScalarRegression(theta=-10.0, target=20.0), torch.tensor([[50.0]]).double()
    v = validation_gradient(model, z, torch.ones(1), loss=squares)
    y = torch.ones(len(x))
    budget = Budget(epsilon=0.1, low=0.0, high=2.0)
    return {
        name: level_1(model, x, y, validation_gradient=v, budget=budget, loss=squares)
        for name, level_1 in LEVEL_1.items()
    }


def test_scalar_regression_is_attacked_towards_zero_and_defended_away_from_it() -> None:
    x = torch.tensor([[0.01], [0.5], [2.0], [-0.7]]).double()
    moves = regression(x)
    assert torch.allclose(moves["attack"], -0.1 * x.sign(), rtol=1e-15)
    assert torch.allclose(moves["defense"], 0.1 * x.sign(), rtol=1e-15)


def test_an_input_without_influence_stays_where_it_is() -> None:
    for move in regression(torch.tensor([[0.0], [1.0]]).double()).values():
        assert move[0].item() == 0
        assert move[1].abs().item() == pytest.approx(0.1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_zero_validation_gradient_gives_zero_and_never_nan(norm: Norm) -> None:
    p = CONV.build()
    v = {name: torch.zeros_like(value) for name, value in p.model.named_parameters()}
    for level_1 in LEVEL_1.values():
        move = level_1(p.model, p.inputs, p.labels, validation_gradient=v, budget=Budget(1.0, norm))
        assert torch.equal(move, torch.zeros_like(p.inputs))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_attack_raises_what_the_defense_lowers(case: Case, norm: Norm) -> None:
    p = case.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    budget = Budget(1e-4, norm, low=-1.0, high=2.0)  # a range wide enough for no clamp

    def gain(perturbation: Tensor) -> float:
        x = budget.perturb(p.inputs, perturbation)
        value = utility(p.model, x, p.labels, p.validation_inputs, p.validation_labels, learning_rate=1e-4)
        return float(value)

    attacked, defended = (
        level_1(p.model, p.inputs, p.labels, validation_gradient=v, budget=budget)
        for level_1 in (level_1_attack, level_1_defense)
    )
    assert gain(attacked) > gain(level_0(p.inputs)) > gain(defended)
    if case is TANH_MLP:  # where no kink is crossed, by as much as the gradient says
        predicted = (exact_gradient(p, 1e-4) * (attacked - defended)).sum()
        assert gain(attacked) - gain(defended) == pytest.approx(float(predicted), rel=1e-3)


def test_the_defense_is_the_opposite_taken_where_the_input_arrived() -> None:
    p = CONV.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    budget = Budget(epsilon=0.5)
    attacked = budget.perturb(p.inputs, attack(p, budget))
    defense = level_1_defense(p.model, attacked, p.labels, validation_gradient=v, budget=budget)
    moved = Problem(p.model, attacked, p.labels, p.validation_inputs, p.validation_labels)
    assert torch.equal(defense, -attack(moved, budget))
    assert not torch.allclose(defense, -attack(p, budget), atol=1e-3)


def test_level_0_does_nothing() -> None:
    x = torch.rand(2, 3, 4)
    assert torch.equal(level_0(x), torch.zeros(2, 3, 4))
    assert level_0(x.double()).dtype == torch.float64


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_example_has_the_whole_budget(case: Case) -> None:
    p = case.build()
    assert torch.allclose(attack(p, Budget(2.5)).flatten(1).norm(dim=1), torch.full((6,), 2.5).double())


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_l_infinity_game_plays_signs(case: Case) -> None:
    p = case.build()
    assert torch.equal(attack(p, Budget(0.25, "linf")), 0.25 * attack(p, Budget(1.0)).sign())
