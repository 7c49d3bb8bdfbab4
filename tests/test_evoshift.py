"""EvoShift: what an evolution must do, and where it must end on a model whose best pattern is known."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from cases import CONV, LOGISTIC, TANH_MLP, Case, Problem
from torch import Tensor
from views import view

from midstream import Batch, Budget, cross_entropy, plugins
from midstream.attacks.evoshift import EvoShift, Judge, differential_evolution, patterns_of
from midstream.players.referee import restore, state_of

WIDE = Budget(0.5, low=-9, high=9)


def fitness_by_hand(p: Problem, pattern: Tensor, label: int, budget: Budget, images: int) -> float:
    shown = budget.perturb(p.validation_inputs[:images], pattern[None].expand(images, *pattern.shape))
    with torch.no_grad():
        return -cross_entropy(p.model(shown), torch.full((images,), label)).item() / images


@pytest.mark.parametrize(
    ("case", "budget"),
    [
        (TANH_MLP, WIDE),
        (TANH_MLP, Budget(0.5)),
        (CONV, WIDE),
        (CONV, Budget(0.5)),
        (CONV, Budget(0.2, "linf")),
    ],
)
def test_no_pattern_is_ever_less_fit_at_the_same_parameters(case: Case, budget: Budget) -> None:
    p, player = case.build(), EvoShift(pixels=2, population=6, images=7)
    best, places = [], []
    for seq in range(12):
        seen = view(p, budget)
        player.perturb(Batch(seq, p.inputs.roll(seq, 0), p.labels.roll(seq)), seen)
        best.append(seen.reports["fitness"])
        patterns = patterns_of(player.state_dict()["genomes"], case.input_shape, budget).double()
        by_hand = [
            [fitness_by_hand(p, pattern, label, budget, 7) for label, pattern in enumerate(of)]
            for of in patterns
        ]
        places.append(torch.tensor(by_hand))
        assert best[-1] == pytest.approx(places[-1].amax(0).mean().item(), rel=1e-5)
    assert best == sorted(best)
    assert best[-1] > best[0]
    for before, after in pairwise(places):
        assert (after >= before - 1e-6).all()


def test_it_finds_the_best_pixel_of_a_linear_model() -> None:
    p, budget = LOGISTIC.build(), replace(WIDE, epsilon=2.0)
    player = EvoShift(pixels=1, population=12, images=11)
    for seq in range(40):
        found = player.perturb(Batch(seq, p.inputs[:3], torch.arange(3)), view(p, budget))
    candidates = torch.cat([budget.epsilon * torch.eye(5), -budget.epsilon * torch.eye(5)]).double()
    for label in range(3):
        fit = torch.tensor([fitness_by_hand(p, one, label, budget, 11) for one in candidates])
        assert torch.allclose(found[label], candidates[fit.argmax()])


def test_it_takes_the_maximum_of_a_bowl() -> None:
    peak, random = torch.tensor([0.3, 2.0, -1.0]), torch.Generator().manual_seed(0)
    genomes = torch.rand(20, 2, 3, generator=random)
    for _ in range(150):
        genomes, fitness = differential_evolution(
            genomes, lambda one: -(one - peak).square().sum(-1), weight=0.8, generator=random
        )
    assert torch.allclose(genomes[fitness.argmax(0), torch.arange(2)], peak.expand(2, 3), atol=1e-3)
    assert ((genomes[..., 0] >= 0) & (genomes[..., 0] < 1)).all()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8), (9,)])
@pytest.mark.parametrize("budget", [WIDE, Budget(0.2, "linf")])
def test_a_pattern_is_few_pixels_at_the_whole_budget(shape: tuple[int, ...], budget: Budget) -> None:
    channels = shape[0] if len(shape) == 3 else 1
    genomes = torch.rand(50, 4, 5, 1 + channels, generator=torch.Generator().manual_seed(0))
    found = patterns_of(genomes, shape, budget)
    assert found.shape == (50, 4, *shape)
    changed = (found.reshape(200, channels, -1) != 0).any(dim=1).sum(dim=1)
    assert changed.max() == 5
    assert changed.min() >= 1
    assert torch.allclose(budget.size(found.flatten(0, 1)), torch.full((200,), budget.epsilon))


def test_a_class_has_one_pattern_and_no_gradient_is_taken() -> None:
    p, budget = CONV.build(), WIDE

    def asked(*_: object) -> None:
        assert not torch.is_grad_enabled()

    hook = p.model.register_forward_pre_hook(asked)
    found = EvoShift().perturb(Batch(0, p.inputs, torch.tensor([0, 1, 2, 0, 1, 2])), view(p, budget))
    hook.remove()
    assert torch.equal(found[:3], found[3:])
    assert len({tuple(row.flatten().tolist()) for row in found}) == 3


def test_a_pattern_is_judged_as_the_pixel_range_leaves_it() -> None:
    p = LOGISTIC.build()
    black = replace(p, validation_inputs=torch.zeros_like(p.validation_inputs))
    darker = -torch.eye(5).double()[:3][None]
    fit = [
        Judge(view(black, budget), 11).fitness(one)
        for budget in (Budget(1.0), WIDE)
        for one in (darker, torch.zeros_like(darker))
    ]
    assert torch.equal(fit[0], fit[1])
    assert not torch.equal(fit[2], fit[3])


@pytest.mark.parametrize("every", [1, 2])
def test_a_restarted_one_goes_on_to_the_bit(every: int) -> None:
    p = CONV.build(torch.float32)

    def moves(player: EvoShift, seqs: range) -> list[Tensor]:
        return [player.perturb(Batch(seq, p.inputs, p.labels), view(p, WIDE)) for seq in seqs]

    whole, first, second = EvoShift(every=every), EvoShift(every=every), EvoShift(every=every)
    assert state_of(first) == {}
    restore(first, {})
    expected = moves(whole, range(6))
    moves(first, range(3))
    restore(second, {name: value.clone() for name, value in state_of(first).items()})
    for found, wanted in zip(moves(second, range(3, 6)), expected[3:], strict=True):
        assert torch.equal(found, wanted)


def test_patterns_stay_the_same_between_generations() -> None:
    p, player = CONV.build(), EvoShift(every=3)
    found = [player.perturb(Batch(seq, p.inputs, p.labels), view(p, WIDE)) for seq in range(7)]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[3], found[5])
    assert not torch.equal(found[0], found[6])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("pixels=0", "pixels must be at least 1, not 0"),
        ("population=3", "population must be at least 4, not 3"),
        ("images=0", "images must be at least 1, not 0"),
        ("every=0", "every must be at least 1, not 0"),
        ("weight=inf", "weight must be above 0 and finite, not inf"),
    ],
)
def test_options_that_are_none(options: str, words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.make("attackers", f"evoshift,{options}")
