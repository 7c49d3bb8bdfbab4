"""Other tasks than classification, held against closed forms and scikit-learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import CONV
from sklearn.metrics import average_precision_score, hamming_loss, mean_squared_error, r2_score
from torch import Tensor, nn
from torch.nn import functional as F
from views import view

import midstream
from midstream import Budget, Defender, MomentumHistory, level_1_attack, level_1_defense, validation_gradient
from midstream.checkers.loss import Loss as LossChecker
from midstream.mathematics.derivatives.checking.check import check_derivatives
from midstream.mathematics.derivatives.functional import DerivativeError
from midstream.mathematics.loss import Loss
from midstream.players.random_start import inside
from midstream.players.wrappers.stealth import Stealth
from midstream.plugins import PluginError
from midstream.run.datasets import Dataset, Examples
from midstream.run.datasets.dataset_checks import DatasetError, check_dataset
from midstream.run.tasks.making import task_of
from midstream.tasks.losses import bce, each, huber, mse
from midstream.tasks.measures import agreements, errors


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(outputs: int = 2) -> nn.Linear:
    """Return `f(x) = W x + b` of five columns."""
    model = nn.Linear(5, outputs).double()
    with torch.no_grad():
        model.weight.copy_(drawn(1, outputs, 5))
        model.bias.copy_(drawn(2, outputs))
    return model


DATA = {"x": drawn(3, 6, 5), "y": drawn(4, 6, 2), "z": drawn(5, 9, 5), "t": drawn(6, 9, 2)}


def by_hand(model: nn.Linear) -> Tensor:
    """Return `B_x v` of linear regression with the squared error.

    With the residual `r = W x + b - y`, `∇θ L = 2 (r xᵀ, r)`, so `v = 2 (Σ r zᵀ, Σ r)` over Dval, and
    `∇x ⟨∇θ L(x), v⟩ = 2 (Wᵀ (V x + c) + Vᵀ r)` for `v = (V, c)`.
    """
    w, b = model.weight.detach(), model.bias.detach()
    of_validation = DATA["z"] @ w.T + b - DATA["t"]
    v, c = 2 * of_validation.T @ DATA["z"], 2 * of_validation.sum(0)
    residual = DATA["x"] @ w.T + b - DATA["y"]
    return 2 * ((DATA["x"] @ v.T + c) @ w + residual @ v)


def moves(model: nn.Linear, budget: Budget) -> tuple[Tensor, Tensor]:
    v = validation_gradient(model, DATA["z"], DATA["t"], loss=mse)
    given: dict[str, Any] = {"validation_gradient": v, "budget": budget, "loss": mse}
    attack = level_1_attack(model, DATA["x"], DATA["y"], **given)
    return attack, level_1_defense(model, DATA["x"], DATA["y"], **given)


WIDE = Budget(0.7, "l2", -float("inf"), float("inf"))


def test_level_1_of_a_linear_regression_is_the_closed_form() -> None:
    model = linear()
    uphill = -by_hand(model)
    expected = 0.7 * uphill / uphill.norm(dim=1, keepdim=True)
    attack, defence = moves(model, WIDE)
    assert torch.allclose(attack, expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(defence, -expected, rtol=1e-12, atol=1e-12)


def test_level_1_on_columns_with_a_scale_is_the_furthest_point_of_their_ellipsoid() -> None:
    model, scale = linear(), torch.tensor([2.0, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    scaled = scale * -by_hand(model)
    expected = 0.7 * scale * scaled / scaled.norm(dim=1, keepdim=True)
    budget = replace(WIDE, scale=tuple(scale.tolist()))
    attack, _ = moves(model, budget)
    assert torch.allclose(attack, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(attack[:, 1], torch.zeros(6, dtype=torch.float64))
    assert torch.allclose(budget.size(attack), torch.full((6,), 0.7, dtype=torch.float64))
    corners = 0.7 * scale * (-by_hand(model)).sign()
    assert torch.allclose(moves(model, replace(budget, norm="linf"))[0], corners)


def test_a_step_on_the_attacked_batch_raises_the_loss_on_the_validation_set() -> None:
    def after(inputs: Tensor) -> float:
        model = linear()
        loss = mse(model(inputs), DATA["y"])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(1e-4 * gradient)
            return mse(model(DATA["z"]), DATA["t"]).item()

    attack, defence = moves(linear(), WIDE)
    x = DATA["x"]
    assert after(x + attack) > after(x) > after(x + defence)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_scaled_projection_is_the_plain_one_in_units_of_the_columns(norm: Any) -> None:
    scale = torch.tensor([2.0, 0.0, 0.5, 1.0, 3.0])
    budget = Budget(0.3, norm, scale=tuple(scale.tolist()))
    p = drawn(7, 8, 5).float() * torch.tensor([[0.01], [1.0]] * 4)
    found = budget.project(p)
    units = torch.where(scale > 0, p / scale.clamp(min=0.1), torch.zeros_like(p))
    assert torch.allclose(found, scale * replace(budget, scale=None).project(units))
    assert (budget.size(found) <= 0.3 * (1 + 1e-6)).all()
    assert budget.size(p).isinf().all()  # it moved the fixed column


def test_a_blend_keeps_its_direction_in_units_of_the_columns() -> None:
    scale = (2.0, 0.0, 0.5, 1.0, 3.0)
    history = MomentumHistory(0.5, "whole")
    p = drawn(7, 4, 5) * torch.tensor(scale)
    blended = history.blend(torch.zeros(4, 5, dtype=torch.float64), p, replace(WIDE, scale=scale))
    assert torch.allclose(blended, 0.7 * p / replace(WIDE, scale=scale).size(p)[:, None])


def test_a_scale_for_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 numbers, inputs of shape \(1, 3\) have 3 columns"):
        Budget(1.0, scale=(1.0, 2.0)).project(torch.ones(1, 3))


def test_r2_and_rmse_are_those_of_scikit_learn() -> None:
    outputs, targets = drawn(1, 40, 3).float(), drawn(2, 40, 3).float()
    found = errors(outputs, targets)
    assert found["r2"] == pytest.approx(r2_score(targets, outputs), rel=1e-9)
    assert found["rmse"] == pytest.approx(mean_squared_error(targets, outputs) ** 0.5, rel=1e-6)


def test_the_measures_of_several_labels_are_those_of_scikit_learn() -> None:
    outputs = drawn(1, 50, 4).float().round(decimals=1)  # with equal scores
    targets = (drawn(2, 50, 4) > 0.4).float()
    found = agreements(outputs, targets)
    right = (outputs > 0).numpy() == targets.numpy()
    assert found["average_precision"] == pytest.approx(average_precision_score(targets, outputs), rel=1e-9)
    assert found["hamming_loss"] == pytest.approx(hamming_loss(targets, outputs.numpy() > 0))
    assert found["subset_accuracy"] == pytest.approx(np.all(right, axis=1).mean())


@pytest.mark.parametrize(("loss", "targets"), [(mse, drawn(8, 6, 2)), (bce, (drawn(8, 6, 2) > 0).double())])
def test_the_loss_of_each_example_adds_up(loss: Loss, targets: Tensor) -> None:
    outputs = drawn(9, 6, 2)
    assert torch.allclose(each(loss, outputs, targets).sum(), loss(outputs, targets))


def test_every_loss_has_right_derivatives() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(number, *parameter.shape))
    labels = (DATA["y"] > 0).double()
    for loss, targets in (
        (mse, DATA["y"]),
        (task_of("regression", "huber,delta=0.5").loss, DATA["y"]),
        (bce, labels),
    ):
        check_derivatives(model, DATA["x"], targets, loss=loss)


def test_a_loss_of_ones_own_that_is_a_mean_is_refused() -> None:
    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    with pytest.raises(DerivativeError, match="sum"):
        check_derivatives(linear(), DATA["x"], DATA["y"], loss=mean)


def test_a_loss_for_another_task_is_refused_by_name() -> None:
    with pytest.raises(
        PluginError, match="loss 'huber' is for regression, and the data for multi-label; use bce"
    ):
        task_of("multi-label", "huber")
    with pytest.raises(PluginError, match="option"):
        task_of("regression", "huber,width=3")


def test_huber_needs_a_delta() -> None:
    with pytest.raises(ValueError, match="delta must be finite and above 0, not 0"):
        huber(torch.zeros(1, 1), torch.zeros(1, 1), delta=0)


def test_a_defender_of_a_loop_corrects_a_regression_and_leaves_fixed_columns_alone() -> None:
    model, scale = linear(), (1.0, 0.0, 1.0, 2.0, 1.0)
    wide = (-float("inf"), float("inf"))
    defender = Defender(
        model, DATA["z"], DATA["t"], epsilon=0.7, pixel_range=wide, loss=midstream.mse, scale=scale
    )
    moved = defender(DATA["x"], DATA["y"]) - DATA["x"]
    expected = moves(model, replace(WIDE, scale=scale))[1]
    assert torch.allclose(moved, expected, rtol=1e-9, atol=1e-12)
    assert not moved[:, 1].any()


def test_what_cannot_be_measured_is_left_out() -> None:
    assert set(errors(torch.zeros(3, 2), torch.ones(3, 2))) == {"rmse"}
    one = errors(torch.tensor([[0.0, 1.0], [0.0, 2.0]]), torch.tensor([[5.0, 1.0], [5.0, 2.0]]))
    assert one["r2"] == 1.0
    assert set(agreements(torch.zeros(3, 2), torch.zeros(3, 2))) == {"subset_accuracy", "hamming_loss"}


GOOD: dict[str, Any] = {"inputs": torch.rand(4, 3), "labels": torch.tensor([[0.0], [1.0], [0.5], [2.0]])}


@pytest.mark.parametrize(
    ("changed", "rest", "said"),
    [
        ({"labels": torch.arange(4)}, {}, "train: its targets are torch.int64; the targets of a regression"),
        (
            {"labels": torch.rand(4)},
            {},
            r"its targets have shape \(4,\), not \(4, 1\), a number for each output",
        ),
        ({"labels": torch.full((4, 1), torch.inf)}, {}, "its targets hold a NaN or an infinity"),
        ({"labels": torch.full((4, 1), 3.0)}, {}, "all 4 targets number 0 are 3; R² needs two values"),
        (
            {"labels": torch.full((4, 1), 3.0)},
            {"task": "multi-label"},
            "targets range from 3 to 3; labels that",
        ),
        ({"labels": torch.zeros(4, 1)}, {"task": "multi-label"}, "none of its 4 examples has a label"),
        (
            {},
            {"task": "ranking"},
            "its task is 'ranking', which is none of classification, regression, multi",
        ),
        ({}, {"classes": ()}, "it names 0 targets; name each target of the regression in classes"),
        ({}, {"scale": (1.0, 2.0)}, "its scale has 2 numbers for 3 columns; give one for each"),
        ({}, {"scale": (0.0, 0.0, 0.0)}, "each number is finite and at least 0, and one is above 0"),
        ({}, {"scale": [1.0, 1.0, 1.0]}, "its scale is a list; give a tuple of numbers"),
    ],
)
def test_a_data_set_that_cannot_be_learned_is_refused(
    changed: dict[str, Any], rest: dict[str, Any], said: str
) -> None:
    settings = {"task": "regression", "classes": ("price",)} | rest
    classes = settings.pop("classes")
    train, test = Examples(**(GOOD | changed)), Examples(**GOOD)
    with pytest.raises(DatasetError, match=said):
        check_dataset("mine", {"train": train, "test": test}, classes, **settings)
    check_dataset("mine", {"train": test, "test": test}, ("price",), task="regression", scale=(1.0, 0.0, 2.0))


def test_the_digest_covers_task_scale_and_targets() -> None:
    def digest(shift: float = 0.0, **settings: Any) -> str:
        part = Examples(GOOD["inputs"], GOOD["labels"] + shift)
        return Dataset(part, part, ("price",), **settings).sha256()

    digests = [
        digest(task="regression"),
        digest(task="regression", scale=(1.0, 1.0, 0.0)),
        digest(task="regression", scale=(1.0, 2.0, 0.0)),
        digest(task="multi-label"),
        digest(0.5, task="regression"),
    ]
    assert len(set(digests)) == len(digests)


def test_noise_prefers_no_column_in_units_of_the_scale() -> None:
    budget = replace(WIDE, scale=(100.0, 0.0, 0.01, 1.0, 1.0))
    found = budget.drawn(drawn(7, 400, 5)) / torch.tensor([100.0, 1.0, 0.01, 1.0, 1.0])
    assert torch.allclose(found.norm(dim=1), torch.ones(400, dtype=torch.float64))
    assert torch.allclose(
        found.square().mean(0), torch.tensor([0.25, 0, 0.25, 0.25, 0.25]).double(), atol=0.05
    )
    plain = replace(budget, scale=None)
    assert torch.equal(plain.drawn(drawn(7, 4, 5)), plain.direction(drawn(7, 4, 5)))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_random_start_fills_the_ball_in_units_of_the_scale(norm: Any) -> None:
    budget = replace(WIDE, norm=norm, scale=(100.0, 0.0, 0.01, 1.0, 1.0))
    seen = view(CONV.build(torch.float32), budget)
    found = inside(seen, midstream.Batch(0, torch.zeros(400, 5), torch.zeros(400, 1)))
    assert (budget.size(found) <= 0.7 * (1 + 1e-6)).all()
    units = found[:, [0, 2, 3, 4]] / torch.tensor([100.0, 0.01, 1.0, 1.0])
    assert float(units.std(0).min()) > 0.8 * float(units.std(0).max()) > 0


def test_a_stealthy_attacker_keeps_its_direction_in_units_of_the_columns() -> None:
    scale = torch.tensor([100.0, 0.0, 0.01, 1.0, 1.0])
    budget, model = replace(WIDE, epsilon=0.5, scale=tuple(scale.tolist())), linear().float()
    wanted = 0.5 * scale * F.normalize(torch.tensor([[1.0, 0.0, 1.0, 1.0, 1.0]]), dim=1)
    seen = replace(view(CONV.build(torch.float32), budget), model=model, loss=mse)

    class Wants:
        def perturb(self, batch: midstream.Batch, view: midstream.View) -> Tensor:  # noqa: ARG002
            return wanted

    player = Stealth(inner=Wants(), checker=LossChecker(), stealth=1e-9)
    batch = midstream.Batch(0, torch.zeros(1, 5), torch.zeros(1, 2))
    assert torch.allclose(player.perturb(batch, seen), wanted, rtol=1e-3)
