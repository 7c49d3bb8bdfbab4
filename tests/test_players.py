"""The host of a player: it projects, clamps, and lets nothing through that breaks the rules."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream import Batch, Budget, Player, View, cross_entropy
from midstream.players.referee import PlayerError, move, state_of


@dataclass(frozen=True)
class Returning:
    """A player that returns what a function of its batch and view returns."""

    answer: Callable[[Batch, View], Tensor]

    def perturb(self, batch: Batch, view: View) -> Tensor:
        return self.answer(batch, view)


def view(budget: Budget | None = None, *, role: str = "attacker") -> View:
    model = nn.Linear(4, 2)
    return View(
        model=model,
        parameters_version=7,
        loss=cross_entropy,
        learning_rate=0.1,
        validation_inputs=torch.rand(3, 4),
        validation_labels=torch.tensor([0, 1, 0]),
        budget=budget or Budget(epsilon=0.5),
        seed=11,
        role=role,
        gradient_source=lambda: {name: torch.ones_like(p) for name, p in model.named_parameters()},
    )


def batch() -> Batch:
    return Batch(seq=7, inputs=torch.full((2, 4), 0.9), labels=torch.tensor([0, 1]))


def play(answer: Callable[[Batch, View], Tensor], budget: Budget | None = None) -> Tensor:
    return move("mine", Returning(answer), batch(), view(budget))


def refusal(answer: Callable[[Batch, View], Tensor], *, role: str = "attacker") -> PlayerError:
    with pytest.raises(PlayerError) as caught:
        move("mine", Returning(answer), batch(), view(role=role))
    return caught.value


def test_the_host_projects() -> None:
    moved = play(lambda batch, _: torch.full_like(batch.inputs, -100.0))
    assert torch.allclose(moved, torch.full((2, 4), 0.65))  # 0.5 shared by four pixels


def test_the_host_clamps() -> None:
    moved = play(lambda batch, _: torch.full_like(batch.inputs, 100.0), Budget(3.0, "linf", 0.0, 1.5))
    assert torch.equal(moved, torch.full((2, 4), 1.5))


def test_a_move_that_fits_is_added_as_it_is() -> None:
    step = torch.tensor([[0.0, -0.125, 0.0625, 0.0], [0.0, 0.0, 0.0, -0.5]])
    assert torch.equal(play(lambda *_: step), batch().inputs + step)


def test_another_number_type_is_turned_into_that_of_the_inputs() -> None:
    moved = play(lambda batch, _: torch.full_like(batch.inputs, -0.1, dtype=torch.float64))
    assert moved.dtype == torch.float32
    assert torch.allclose(moved, torch.full((2, 4), 0.8))


def test_no_graph_comes_along() -> None:
    assert not play(lambda batch, view: 0 * view.model(batch.inputs)[:, :1] * batch.inputs).requires_grad


def test_an_exception_is_passed_on_with_its_cause() -> None:
    def fail(batch: Batch, view: View) -> Tensor:
        raise KeyError(f"weight {batch.seq} {view.parameters_version}")

    error = refusal(fail, role="defender")
    line = fail.__code__.co_firstlineno + 1
    assert str(error) == (
        f"defender 'mine' failed at batch 7: KeyError('weight 7 7') (test_players.py, line {line}, in fail)"
    )
    assert isinstance(error.__cause__, KeyError)


def test_an_exception_inside_a_library_is_placed_in_the_plug_in() -> None:
    def multiply(batch: Batch, _: View) -> Tensor:
        return F.linear(batch.inputs, torch.zeros(3, 3))

    assert str(refusal(multiply)).endswith(
        f"(test_players.py, line {multiply.__code__.co_firstlineno + 1}, in multiply)"
    )


@pytest.mark.parametrize("state", [[1.0], {"steps": 3}, {7: torch.zeros(1)}])
def test_a_memory_of_something_else_than_tensors_is_refused(state: Any) -> None:
    class Remembers(Returning):
        def state_dict(self) -> Any:
            return state

        def load_state_dict(self, state: Any) -> None:
            raise NotImplementedError

    with pytest.raises(PlayerError, match=r"^Remembers\.state_dict (returned a list|holds .*, not a tensor)"):
        state_of(Remembers(lambda batch, _: batch.inputs))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_none_stops_the_batch(bad: float) -> None:
    def answer(batch: Batch, _: View) -> Tensor:
        perturbation = torch.zeros_like(batch.inputs)
        perturbation[1, 3] = bad
        return perturbation

    assert str(refusal(answer)) == "attacker 'mine' returned a NaN or an infinity at batch 7"


def test_a_number_too_large_for_the_inputs_is_an_infinity() -> None:
    error = refusal(lambda *_: torch.full((2, 4), 1e300, dtype=torch.float64))
    assert "an infinity" in str(error)


@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (2, 1), (2, 4, 1)])
def test_a_shape_that_would_broadcast_is_refused(shape: tuple[int, ...]) -> None:
    message = str(refusal(lambda *_: torch.zeros(shape)))
    assert message == f"attacker 'mine' returned shape {shape} at batch 7, not (2, 4)"


def test_something_else_than_a_tensor_is_refused() -> None:
    error = refusal(lambda *_: [[0.0] * 4] * 2)  # type: ignore[arg-type]
    assert str(error) == "attacker 'mine' returned a list at batch 7, not a tensor"


def test_writing_into_the_batch_does_not_exceed_the_budget() -> None:
    def overwrite(batch: Batch, _: View) -> Tensor:
        return torch.zeros_like(batch.inputs.zero_())

    assert Budget(0.5).size(play(overwrite) - batch().inputs).max() <= 0.5 + 1e-6


def test_a_view_hands_out_its_gradient_and_numbers_of_its_own() -> None:
    attacker, defender = view(), view(role="defender")
    assert attacker.validation_gradient().keys() == {"weight", "bias"}
    drawn = [torch.rand(4, generator=v.generator(seq)) for v in (attacker, defender) for seq in (0, 1)]
    again = torch.rand(4, generator=attacker.generator(0))
    assert torch.equal(drawn[0], again)
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_a_player_is_whatever_can_perturb() -> None:
    assert isinstance(Returning(lambda batch, _: batch.inputs), Player)
    assert not isinstance(nn.Linear(1, 1), Player)
