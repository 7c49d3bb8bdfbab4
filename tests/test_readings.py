"""Two readings of the paper's memory: where the gradient is taken, and how the blend uses the budget."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from black_box_attacker import Attacker
from cases import CONV, LOGISTIC, Case, Problem
from torch import Tensor
from views import RATE, view

from midstream import Batch, Budget, Sgd, cross_entropy, level_k_attack, plugins
from midstream.mathematics.unrolled import unrolled_utility_gradient
from midstream.plugins import PluginError
from midstream.protocol.wire import decode_tensors, encode_tensors

WIDE = Budget(epsilon=1.5)  # moves many pixels to the edge of their range
Norm = Literal["l2", "linf"]
readings = pytest.mark.parametrize("blend", ["project", "whole"])


def edge(u: Tensor, norm: Norm) -> Tensor:
    """Return `e(u)`, written down again."""
    return u.sign() if norm == "linf" else u / u.flatten(1).norm(dim=1).reshape(-1, *[1] * (u.dim() - 1))


def derivative(p: Problem, at: Tensor) -> Tensor:
    """Return `B_x v` at the given inputs by differentiating twice, one example at a time."""
    parameters = list(p.model.parameters())
    v = torch.autograd.grad(cross_entropy(p.model(p.validation_inputs), p.validation_labels), parameters)
    rows = []
    for x, y in zip(at, p.labels, strict=True):
        leaf = x[None].clone().requires_grad_()
        own = torch.autograd.grad(cross_entropy(p.model(leaf), y[None]), parameters, create_graph=True)
        inner = sum((a * b).sum() for a, b in zip(own, v, strict=True))
        assert isinstance(inner, Tensor)
        rows.append(torch.autograd.grad(inner, leaf)[0][0])
    return torch.stack(rows)


def moved_on(p: Problem, visit: int) -> Problem:
    """Return the problem at the parameters of a later visit."""
    model = copy.deepcopy(p.model)
    for parameter in model.parameters():
        parameter.data.mul_(1 + 0.5 * visit)
    return Problem(model, p.inputs, p.labels, p.validation_inputs, p.validation_labels)


@readings
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("at", ["input", "memory"])
@pytest.mark.parametrize("case", [CONV, LOGISTIC], ids=lambda case: case.name)
def test_level_1_is_the_formula_of_its_reading(case: Case, at: str, norm: Norm, blend: str) -> None:
    p = case.build()
    budget = Budget(0.3 if norm == "linf" else WIDE.epsilon, norm)
    attacker = plugins.make("attackers", f"level-1,beta=0.8,at={at},blend={blend}")
    last = torch.zeros_like(p.inputs)
    for visit in range(4):
        q = moved_on(p, visit)
        seen = (p.inputs + last).clamp(0, 1) if at == "memory" else p.inputs
        fresh = -budget.epsilon * edge(derivative(q, seen), norm)
        last = 0.8 * last + 0.2 * fresh
        if blend == "whole":
            last = budget.epsilon * edge(last, norm)
        move = attacker.perturb(Batch(visit, p.inputs, p.labels), view(q, budget))
        assert torch.allclose(move, last, rtol=1e-9, atol=1e-12)


def test_each_reading_makes_moves_of_its_own() -> None:
    p = CONV.build()
    ends = []
    for options in ("", ",at=memory", ",blend=whole", ",at=memory,blend=whole"):
        attacker = plugins.make("attackers", f"level-1{options}")
        for visit in range(3):
            move = attacker.perturb(Batch(visit, p.inputs, p.labels), view(p, WIDE))
        ends.append(move)
    assert all(not torch.allclose(a, b) for i, a in enumerate(ends) for b in ends[:i])
    assert torch.equal(
        plugins.make("attackers", "level-1,at=input,blend=project").perturb(
            Batch(0, p.inputs, p.labels), view(p, WIDE)
        ),
        plugins.make("attackers", "level-1").perturb(Batch(0, p.inputs, p.labels), view(p, WIDE)),
    )


def test_level_k_starts_from_the_memory() -> None:
    p = CONV.build()
    attacker = plugins.make("attackers", "level-2,steps=3,at=memory,blend=whole,beta=0.5")
    batch = Batch(0, p.inputs, p.labels)
    first = attacker.perturb(batch, view(p, WIDE))
    fresh = level_k_attack(
        p.model,
        p.inputs,
        p.labels,
        validation_gradient=view(p).validation_gradient(),
        budget=WIDE,
        opponent=WIDE,
        steps=3,
        learning_rate=RATE,
        start=first,
    )
    expected = WIDE.epsilon * edge(0.5 * first + 0.5 * fresh, "l2")
    assert torch.allclose(attacker.perturb(batch, view(p, WIDE)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["level-2-closed-form", "influence", "optimal-contraction", "conversion,target=1"]
)
def test_the_other_attackers_of_the_base_have_the_options(name: str) -> None:
    p = CONV.build()
    batch = Batch(0, p.inputs, p.labels)
    plain, other = (plugins.make("attackers", name + more) for more in ("", ",at=memory,blend=whole"))
    for _ in range(2):
        moves = plain.perturb(batch, view(p, WIDE)), other.perturb(batch, view(p, WIDE))
    assert torch.allclose(WIDE.size(moves[1]), torch.tensor(WIDE.epsilon, dtype=torch.float64))
    assert not torch.allclose(WIDE.epsilon * edge(moves[0], "l2"), moves[1])


@pytest.mark.parametrize("name", ["level-1", "level-2,steps=1"])
def test_the_exact_utility_is_followed_from_the_memory(name: str) -> None:
    p = CONV.build()
    batch, seen = Batch(0, p.inputs, p.labels), replace(view(p, WIDE), step_source=lambda: Sgd(RATE))
    attacker = plugins.make("attackers", f"{name},utility=exact,at=memory,blend=whole,beta=0.5")
    first = attacker.perturb(batch, seen)
    uphill = unrolled_utility_gradient(
        p.model,
        (p.inputs + first).clamp(0, 1),
        p.labels,
        p.validation_inputs,
        p.validation_labels,
        step=Sgd(RATE),
    )
    expected = WIDE.epsilon * edge(0.5 * first + 0.5 * WIDE.epsilon * edge(uphill, "l2"), "l2")
    assert torch.allclose(attacker.perturb(batch, seen), expected, rtol=1e-12)


def test_without_memory_there_is_no_remembered_point() -> None:
    with pytest.raises(PluginError, match="at=memory needs a memory, and beta=0 turns it off"):
        plugins.make("attackers", "level-1,at=memory,beta=0")
    p = CONV.build()
    attacker = plugins.make("attackers", "level-2,steps=1,step_size=1e-9,blend=whole,beta=0")
    move = attacker.perturb(Batch(0, p.inputs, p.labels), view(p, WIDE))
    assert torch.allclose(WIDE.size(move), torch.tensor(WIDE.epsilon, dtype=torch.float64))


def test_a_restored_attacker_continues_bit_for_bit() -> None:
    p = CONV.build(torch.float32)
    whole, restored = (plugins.make("attackers", "level-1,at=memory,blend=whole") for _ in range(2))
    batch = Batch(0, p.inputs, p.labels)
    whole.perturb(batch, view(p, WIDE))
    restored.load_state_dict(decode_tensors(encode_tensors(whole.state_dict())))
    assert torch.equal(whole.perturb(batch, view(p, WIDE)), restored.perturb(batch, view(p, WIDE)))


def test_a_surrogate_records_the_moves_of_the_reading(tmp_path: Path) -> None:
    sizes = []
    for number, options in enumerate(["", ",at=memory,blend=whole"]):
        attacker = Attacker(tmp_path / str(number), "level-1,beta=0.9" + options)
        recorded = attacker.starts().surrogate.perturbations.values()
        sizes.append(torch.stack([p.norm() for p in recorded]))
    assert sizes[1].max() <= 1.5 + 1e-5
    assert sizes[1].mean() > 1.5 * sizes[0].mean()  # four visits reach 34 % of the budget otherwise
