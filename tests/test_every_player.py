"""What holds for every player that is installed, under any budget: a new one is covered by its name alone."""

from dataclasses import replace

import pytest
import torch
from cases import CLASSES, CONV, LOGISTIC, TANH_MLP, Case, Problem, untouched
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from installed_players import OF_A_FILE, OF_TEXT, VARIANTS, Chosen, installed, kind, kinds, ready, view
from torch import Tensor, nn

from midstream import Batch, Budget, plugins
from midstream.mathematics.budget import Norm
from midstream.players.referee import move

DRAWN = {"noise", "vat", "crop-ensemble", "ddpm"}
"""Players that begin with random numbers, drawn for a batch as it comes."""

FOR_IMAGES = {
    "deep-confuse",
    "atn",
    "crop-ensemble",
    "median",
    "jpeg",
    "vae",
    "cvae",
    "gan",
    "ddpm",
    *("ar", "ops", "avatar"),
}
"""Players that refuse other inputs."""

CRAFTED = {"em", "rem", "tap"}
"""Players that ask a surrogate of their own, and have learned only on a problem of its shape."""

BLIND = {"noise", "evoshift", "clip", "lsp", *CRAFTED, *FOR_IMAGES}
"""Players that never ask the model."""


PLAYERS = installed("attackers") + installed("defenders")


def every(*but: str) -> pytest.MarkDecorator:
    """Run a test with every player, but those, and those that play a file."""
    chosen = [c for c in PLAYERS if not {*kinds(c.text)} & {*but, *OF_A_FILE}]
    return pytest.mark.parametrize("chosen", chosen, ids=[f"{c.side[:-1]} {c.text}" for c in chosen])


every_player = every()


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    norm: Norm = draw(st.sampled_from(["l2", "linf"]))
    epsilon = draw(st.one_of(st.just(0.0), st.floats(1e-3, 10)))
    return Budget(epsilon, norm, draw(st.sampled_from([0.0, -0.5])), draw(st.sampled_from([1.0, 2.5])))


def game(case: Case, budget: Budget, seed: int, dtype: torch.dtype = torch.float32) -> Problem:
    """Return a problem with 5 inputs in the pixel range, and sets that no subset of makes 5."""
    p, random = case.build(dtype, batch=5, validation=11), torch.Generator().manual_seed(seed)

    def pixels(like: Tensor) -> Tensor:
        drawn = torch.rand(like.shape, generator=random, dtype=torch.float64).to(dtype)
        return (budget.low + (budget.high - budget.low) * drawn).clamp(budget.low, budget.high)

    y, t = (torch.arange(size) % CLASSES for size in (5, 11))
    return Problem(p.model, pixels(p.inputs), y, pixels(p.validation_inputs), t)


# Not shrunk: an example is as small as it gets, and a failure should not take minutes.
few = settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])


@pytest.mark.slow
@every_player
@given(budget=budgets(), seed=st.integers(0, 99))
@few
def test_budget_and_range_hold_visit_after_visit(chosen: Chosen, budget: Budget, seed: int) -> None:
    p = game(CONV, budget, seed)
    player = ready(chosen, p, budget)
    rounding = 1e-5

    def looked_at(_: nn.Module, arguments: tuple[Tensor]) -> None:
        at = arguments[0].detach()
        assert budget.low <= at.min()
        assert at.max() <= budget.high
        if len(at) == len(p.inputs) and kind(chosen.text) != "cw":  # which looks for the border, near or far
            assert budget.size(at - p.inputs).max() <= 2 * budget.epsilon * (1 + rounding) + rounding

    hook = p.model.register_forward_pre_hook(looked_at)
    for seq in range(3):
        moved = move(chosen.text, player, Batch(seq, p.inputs, p.labels), view(chosen, p, budget))
        assert ((moved >= budget.low) & (moved <= budget.high)).all()
        assert budget.size(moved - p.inputs).max() <= budget.epsilon * (1 + rounding) + rounding
        for parameter in p.model.parameters():
            parameter.data.mul_(-1.2)
    hook.remove()


def dead() -> nn.Module:
    """A network whose hidden nodes are all off: no input has any influence on anything."""
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    with torch.no_grad():
        model.get_parameter("0.bias").fill_(-100.0)
    return model


@pytest.mark.slow
@every(*BLIND)
@given(budget=budgets(), seed=st.integers(0, 99))
@few
def test_where_no_input_has_an_influence_none_is_moved(chosen: Chosen, budget: Budget, seed: int) -> None:
    p = game(Case("dead", dead, (5,)), budget, seed)
    player = chosen.make()
    for seq in range(2):
        perturbation = player.perturb(Batch(seq, p.inputs, p.labels), view(chosen, p, budget))
        assert torch.equal(perturbation, torch.zeros_like(p.inputs))


@pytest.mark.slow
@every(*DRAWN)
@given(
    drawn=st.data(),
    budget=budgets(),
    seed=st.integers(0, 99),
    order=st.permutations(range(5)),
)
@few
def test_a_batch_in_another_order_has_its_answers_in_that_order(
    chosen: Chosen, drawn: st.DataObject, budget: Budget, seed: int, order: list[int]
) -> None:
    cases = [CONV] if {*kinds(chosen.text)} & FOR_IMAGES else [LOGISTIC, TANH_MLP, CONV]
    case = drawn.draw(st.sampled_from(cases))
    p = game(case, budget, seed, torch.float64)
    beta = None if "at=memory" in chosen.text else 0  # that reading is of a memory, and refuses to have none
    straight, shuffled = (
        ready(chosen, p, budget, beta=beta).perturb(
            Batch(0, p.inputs[rows], p.labels[rows]), view(chosen, p, budget)
        )
        for rows in (torch.arange(5), torch.tensor(order))
    )
    assert torch.allclose(shuffled, straight[order], rtol=1e-6, atol=1e-8)


@every_player
def test_the_model_and_the_data_are_left_as_they_were(chosen: Chosen) -> None:
    budget = Budget(0.5)
    p = game(CONV, budget, seed=0)
    before = replace(p, **{name: value.clone() for name, value in vars(p).items() if name != "model"})
    player, state = ready(chosen, p, budget), torch.get_rng_state()
    for seq, training in enumerate((True, False)):
        p.model.train(training)
        with untouched(p.model):
            perturbation = player.perturb(Batch(seq, p.inputs, p.labels), view(chosen, p, budget))
        assert not perturbation.requires_grad
        assert torch.equal(torch.get_rng_state(), state)
    for name, value in vars(p).items():
        if name != "model":
            assert torch.equal(value, vars(before)[name]), name
            assert not value.requires_grad


def test_a_player_is_in_the_table_by_its_name_alone() -> None:
    assert {(c.side, kind(c.text)) for c in PLAYERS} == {
        (side, name) for side in VARIANTS for name in plugins.names(side) if name not in OF_TEXT
    }
