"""The attacker's memory: how it grows, what it recognises, and that it survives a restart."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from midstream import Budget, MomentumHistory
from midstream.protocol.wire import decode_tensors, encode_tensors

BUDGET = Budget(epsilon=2.0)


def inputs(count: int = 4) -> Tensor:
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(0))


def perturbations(seed: int, count: int = 4) -> Tensor:
    drawn = torch.randn(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return BUDGET.epsilon * BUDGET.direction(drawn)


def test_a_steady_attack_grows_as_one_minus_beta_to_the_visits() -> None:
    history, x, p = MomentumHistory(beta=0.95), inputs().double(), perturbations(1).double()
    for visit in range(1, 61):
        assert torch.allclose(history.blend(x, p, BUDGET), (1 - 0.95**visit) * p, rtol=1e-12)


def test_an_input_is_recognised_whatever_the_order_and_the_company() -> None:
    history, x = MomentumHistory(beta=0.5), inputs()
    first = history.blend(x, perturbations(1), BUDGET)
    order = torch.tensor([2, 0, 3])
    fresh = perturbations(2)[:3]
    assert torch.equal(history.blend(x[order].clone(), fresh, BUDGET), 0.5 * first[order] + 0.5 * fresh)
    assert len(history) == 4


def test_one_bit_makes_another_input() -> None:
    history, x = MomentumHistory(beta=0.5), inputs(1)
    history.blend(x, perturbations(1, 1), BUDGET)
    other = x.clone()
    other[0, 0, 0, 0] = torch.nextafter(other[0, 0, 0, 0], torch.tensor(2.0))
    assert torch.equal(history.blend(other, perturbations(2, 1), BUDGET), 0.5 * perturbations(2, 1))
    assert len(history) == 2


def test_memory_layout_is_no_content() -> None:
    history, x = MomentumHistory(), torch.rand(2, 3, 4, 4)
    history.blend(x, torch.zeros_like(x), BUDGET)
    history.blend(x.contiguous(memory_format=torch.channels_last), torch.zeros_like(x), BUDGET)
    assert len(history) == 2


def test_the_blend_is_projected() -> None:
    history, small = MomentumHistory(beta=0.5), Budget(epsilon=0.1)
    assert torch.allclose(small.size(history.blend(inputs(), perturbations(1), small)), torch.tensor(0.1))


def test_without_memory_the_fresh_perturbation_passes() -> None:
    history, x = MomentumHistory(beta=0), inputs()
    for seed in range(3):
        assert torch.equal(history.blend(x, perturbations(seed), BUDGET), perturbations(seed))
    assert len(history) == 0
    assert history.state_dict() == {}


@pytest.mark.parametrize("travels", [False, True])
def test_a_restored_history_continues_bit_for_bit(travels: bool) -> None:
    x, order = inputs(), torch.tensor([1, 3, 0, 2])
    whole, first_half, second_half = MomentumHistory(), MomentumHistory(), MomentumHistory()
    for history in (whole, first_half):
        history.blend(x, perturbations(1), BUDGET)
        history.blend(x[order], perturbations(2), BUDGET)
    state = first_half.state_dict()
    second_half.blend(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3), BUDGET)  # forgotten on loading
    second_half.load_state_dict(decode_tensors(encode_tensors(state)) if travels else state)
    assert len(second_half) == 4
    for seed in (3, 4):
        expected = whole.blend(x, perturbations(seed), BUDGET)
        assert torch.equal(second_half.blend(x, perturbations(seed), BUDGET), expected)


def test_a_state_once_taken_does_not_move() -> None:
    history, x = MomentumHistory(), inputs()
    history.blend(x, perturbations(1), BUDGET)
    state = history.state_dict()
    copy = {key: value.clone() for key, value in state.items()}
    history.blend(x, perturbations(2), BUDGET)
    assert state.keys() == copy.keys()
    assert all(torch.equal(state[key], copy[key]) for key in copy)


def test_an_input_twice_in_one_batch_is_deterministic() -> None:
    """Both copies start from the same memory, and the later one is remembered."""
    twice, p = inputs(1).repeat(2, 1, 1, 1), perturbations(1, 2)
    runs = []
    for _ in range(3):
        history = MomentumHistory(beta=0.5)
        blended = history.blend(twice, p, BUDGET)
        assert torch.equal(blended, 0.5 * p)
        assert len(history) == 1
        runs.append(history.blend(twice, p, BUDGET))
        assert torch.equal(runs[-1], 0.5 * blended[1] + 0.5 * p)
    assert all(torch.equal(a, b) for a, b in pairwise(runs))


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0, float("nan")])
def test_a_beta_that_is_none(beta: float) -> None:
    with pytest.raises(ValueError, match=f"beta must be at least 0 and below 1, not {beta}"):
        MomentumHistory(beta)
