"""The paper's momentum on the attacks that it compares with."""

import pytest
import torch
from cases import CONV
from torch import Tensor
from views import view

from midstream import Batch, Budget, plugins
from midstream.players.interface import Player
from midstream.players.referee import restore, state_of
from midstream.players.remembering import remembers

NAMES = ["pgd", "yopo", "cw,iterations=4,searches=2,initial=1"]
BALL = Budget(0.5, low=-9, high=9)


def made(text: str) -> Player:
    player: Player = plugins.make("attackers", text)
    return player


def moves(player: Player, visits: int) -> list[Tensor]:
    p = CONV.build(torch.float32)
    return [player.perturb(Batch(seq, p.inputs, p.labels), view(p, BALL)) for seq in range(visits)]


@pytest.mark.parametrize("name", NAMES)
def test_a_visit_blends_the_new_perturbation_with_the_last_one(name: str) -> None:
    (fresh,) = moves(made(name), 1)
    first, second = moves(made(f"{name},beta=0.75"), 2)
    assert torch.equal(first, BALL.project(0.25 * fresh))
    assert torch.equal(second, BALL.project(0.75 * first + 0.25 * fresh))


@pytest.mark.parametrize("name", NAMES)
def test_only_with_momentum_there_is_something_to_remember(name: str) -> None:
    without, whole, first, second = made(name), *(made(f"{name},beta=0.75") for _ in range(3))
    moves(without, 1)
    assert (remembers(without), remembers(whole)) == (False, True)
    assert all(value.numel() == 0 for value in state_of(without).values())
    moves(first, 1)
    restore(second, {key: value.clone() for key, value in state_of(first).items()})
    assert torch.equal(moves(second, 1)[0], moves(whole, 2)[1])


def test_a_weight_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="beta must be at least 0 and below 1, not 1"):
        made("pgd,beta=1")
