"""FGSM, PGD, YOPO and CW against closed forms and against Foolbox, on the same model and images."""

import inspect
import warnings
from collections.abc import Callable

import pytest
import torch
from cases import BATCH_NORM, CASES, CLASSES, CONV, LOGISTIC, Case
from torch import Tensor, nn
from torch.nn.functional import one_hot
from trained_classifier import digits

from midstream import Budget, cross_entropy
from midstream.attacks.adversarial.cw import CarliniWagner, Search, carlini_wagner, lead
from midstream.attacks.adversarial.yopo import yopo
from midstream.mathematics.ascent import pgd
from midstream.mathematics.budget import Norm
from midstream.mathematics.derivatives.input_gradient import input_gradient

with warnings.catch_warnings():
    # One of its attacks imports a function by the name that scipy had for it earlier.
    warnings.filterwarnings("ignore", message="Please import `gaussian_filter`", category=DeprecationWarning)
    from foolbox.attacks import L2PGD, LinfPGD
    from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
    from foolbox.attacks.ddn import DDNAttack
    from foolbox.criteria import Misclassification
    from foolbox.models.pytorch import PyTorchModel

every_norm = pytest.mark.parametrize("norm", ["l2", "linf"])


@every_norm
def test_fgsm_in_closed_form(norm: Norm) -> None:
    p, budget = LOGISTIC.build(), Budget(0.1, norm, -10, 10)
    assert isinstance(p.model, nn.Linear)
    residual = p.model(p.inputs).softmax(dim=1) - one_hot(p.labels, CLASSES)
    gradient = residual @ p.model.weight
    unit = gradient / gradient.norm(dim=1, keepdim=True) if norm == "l2" else gradient.sign()
    found = pgd(p.model, p.inputs, p.labels, budget=budget, steps=1, step_size=1.0)
    assert torch.allclose(found, 0.1 * unit, rtol=1e-12)


@every_norm
@pytest.mark.parametrize("epsilon", [0.3, 3.0])
def test_pgd_is_foolboxs(norm: Norm, epsilon: float) -> None:
    model, x, y = digits()
    attack = (L2PGD if norm == "l2" else LinfPGD)(abs_stepsize=0.4 * epsilon, steps=5, random_start=False)
    theirs = attack.run(
        PyTorchModel(model, bounds=(0, 1), device="cpu"), x, Misclassification(y), epsilon=epsilon
    )
    ours = pgd(model, x, y, budget=Budget(epsilon, norm), steps=5, step_size=0.4)
    # Many pixels are 0: both clamp, after the projection, and go on from there.
    assert torch.allclose(x + ours, theirs, atol=1e-5)
    fooled = [model(moved).argmax(dim=1) != y for moved in (x + ours, theirs)]
    assert torch.equal(*fooled)
    assert fooled[0].any()
    assert torch.allclose(Budget(epsilon, norm).size(ours), Budget(epsilon, norm).size(theirs - x), atol=1e-5)


@pytest.mark.parametrize(("norm", "same"), [("l2", False), ("linf", True)])
def test_in_l2_the_order_of_projection_and_clamp_makes_other_images(norm: Norm, same: bool) -> None:
    model, x, y = digits()
    budget = Budget(0.5, norm)
    step = 2 * budget.epsilon * budget.direction(input_gradient(model, x, y))
    clamped_first = budget.project((x + step).clamp(0, 1) - x)
    found = pgd(model, x, y, budget=budget, steps=1, step_size=2.0)
    assert torch.allclose(found, clamped_first, atol=1e-6) == same
    # Ours projects first, as Foolbox does: what the clamp then takes away is not given back.
    assert (budget.size(found) <= budget.size(clamped_first) + 1e-6).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@every_norm
def test_yopo_with_one_inner_step_is_pgd(case: Case, norm: Norm) -> None:
    p, budget = case.build(), Budget(0.2, norm)
    found = yopo(p.model, p.inputs, p.labels, budget=budget, outer=3, inner=1, step_size=0.5)
    expected = pgd(p.model, p.inputs, p.labels, budget=budget, steps=3, step_size=0.5)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


Run = Callable[[Tensor], Tensor]


class Functional(nn.Module):
    """An activation that no module stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.last(self.first(x).relu())
        return last


class Shortcut(nn.Module):
    """An activation that not all goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), nn.Linear(7, 3)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        last: Tensor = self.last(first + self.activation(first))
        return last


def in_order(*layers: nn.Module, first: int) -> tuple[nn.Module, Run, Run]:
    """Return a network of layers, its first ones, and the rest."""
    model = nn.Sequential(*layers).double().eval()
    return model, model[:first], model[first:]


def published() -> tuple[nn.Module, Run, Run]:
    """Return the form of the authors' network for MNIST: one ReLU, in place, for all layers."""
    relu = nn.ReLU(inplace=True)
    first = nn.Sequential(nn.Conv2d(1, 4, 3), relu)
    return in_order(first, nn.Conv2d(4, 4, 3), relu, nn.Flatten(), nn.Linear(64, 3), first=1)


def functional() -> tuple[nn.Module, Run, Run]:
    model = Functional().double()
    return model, model.first, lambda x: model.last(x.relu())


def shortcut() -> tuple[nn.Module, Run, Run]:
    model = Shortcut().double()
    return model, model.first, lambda x: model.last(x + x.relu())


FIRST_LAYERS: dict[str, Callable[[], tuple[nn.Module, Run, Run]]] = {
    "published": published,
    "pooled": lambda: in_order(
        nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3), first=3
    ),
    "dropout": lambda: in_order(
        nn.Flatten(), nn.Linear(64, 7), nn.Tanh(), nn.Dropout(), nn.Linear(7, 3), first=3
    ),
    "normalised": lambda: in_order(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), first=1
    ),
    "activated-before": lambda: in_order(nn.ReLU(), nn.Flatten(), nn.Linear(64, 7), nn.Linear(7, 3), first=3),
    "functional": functional,
    "shortcut": shortcut,
}


@pytest.mark.parametrize("name", FIRST_LAYERS)
def test_yopos_first_layer_ends_behind_its_activation(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, first, rest = FIRST_LAYERS[name]()
        x, y = torch.rand(4, 1, 8, 8).double(), torch.tensor([0, 1, 2, 0])
    budget, at = Budget(0.5), x
    for _ in range(3):
        reached = first(at).detach().requires_grad_()
        costate = torch.autograd.grad(cross_entropy(rest(reached.clone()), y), reached)[0]
        for _ in range(2):
            moved = at.clone().requires_grad_()
            uphill = budget.direction(torch.autograd.grad((costate * first(moved)).sum(), moved)[0])
            at = budget.perturb(x, at - x + 0.25 * uphill)
    found = yopo(model, x, y, budget=budget, outer=3, inner=2, step_size=0.5)
    assert torch.allclose(x + found, at, rtol=1e-9, atol=1e-12)


def test_yopos_inner_steps_through_a_linear_layer_are_one_long_step() -> None:
    p, budget = BATCH_NORM.build(), Budget(0.2, "linf", -10.0, 10.0)
    found = yopo(p.model, p.inputs, p.labels, budget=budget, outer=5, inner=3, step_size=0.1)
    expected = pgd(p.model, p.inputs, p.labels, budget=budget, steps=5, step_size=0.3)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(
        found, pgd(p.model, p.inputs, p.labels, budget=budget, steps=5, step_size=0.1), atol=1e-3
    )


def test_yopos_inner_steps_run_the_first_layer_alone() -> None:
    p, calls = CONV.build(), {"first": 0, "last": 0}
    assert isinstance(p.model, nn.Sequential)
    p.model[0].register_forward_hook(lambda *_: calls.update(first=calls["first"] + 1))
    p.model[-1].register_forward_hook(lambda *_: calls.update(last=calls["last"] + 1))
    found = yopo(p.model, p.inputs, p.labels, budget=Budget(1.0), outer=5, inner=3, step_size=0.2)
    assert calls["last"] == 5 + 1  # once to see where the first layer ends
    assert calls["first"] == 5 + 1 + 15
    moved = cross_entropy(p.model(p.inputs + found), p.labels)
    assert moved > cross_entropy(p.model(p.inputs), p.labels)


def test_yopo_on_a_first_layer_that_returns_no_tensor() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            last: Tensor = self.last(self.first(x)[0][:, -1])
            return last

    x, y = torch.rand(2, 3, 4), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="the first layer, a LSTM, returns a tuple, not a tensor"):
        yopo(Recurrent(), x, y, budget=Budget(1.0), outer=1, inner=1, step_size=1)


def test_yopo_without_a_first_layer() -> None:
    with pytest.raises(ValueError, match="Flatten calls no layer"):
        yopo(
            nn.Flatten(),
            torch.rand(2, 3),
            torch.tensor([0, 1]),
            budget=Budget(1.0),
            outer=1,
            inner=1,
            step_size=1,
        )


@pytest.mark.slow
def test_cw_finds_changes_as_small_as_foolboxs() -> None:
    model, x, y = digits()
    attack = L2CarliniWagnerAttack(
        binary_search_steps=6, steps=600, stepsize=0.01, confidence=0, initial_const=1e-3, abort_early=True
    )
    theirs, _, succeeded = attack(
        PyTorchModel(model, bounds=(0, 1), device="cpu"), x, Misclassification(y), epsilons=None
    )
    found = carlini_wagner(model, x, y, Search(searches=6, iterations=600))
    assert succeeded.all()
    assert (lead(model(x + found), y) > 0).all()
    ours = found.flatten(1).norm(dim=1)
    ratio = ours / (theirs - x).flatten(1).norm(dim=1)
    print(f"our distance over theirs: mean {ratio.mean():.4f}, from {ratio.min():.4f} to {ratio.max():.4f}")
    assert ratio.mean() < 1.03  # 1.01: each ends in other local minima for a few images
    assert ratio.median() == pytest.approx(1, abs=0.01)
    assert ours.median().item() == pytest.approx(
        (theirs - x).flatten(1).norm(dim=1).median().item(), rel=0.02
    )
    for radius in (0.4, 0.7, 1.0):  # success within a budget
        shares = [(moved.flatten(1).norm(dim=1) <= radius).double().mean() for moved in (found, theirs - x)]
        assert abs(shares[0] - shares[1]) <= 1.5 / len(x), f"within {radius}: {shares}"


@pytest.mark.slow
def test_cw_is_no_worse_than_another_search_for_the_smallest_change() -> None:
    model, x, y = digits()
    other = DDNAttack(steps=200)  # it holds the norm and turns, where CW weighs the two against each other
    _, moved, succeeded = other(
        PyTorchModel(model, bounds=(0, 1), device="cpu"), x, Misclassification(y), epsilons=None
    )
    assert succeeded.all()
    found = carlini_wagner(model, x, y, Search(searches=6, iterations=300))
    ours, theirs = (change.flatten(1).norm(dim=1) for change in (found, moved - x))
    print(f"our median {ours.median():.4f}, theirs {theirs.median():.4f}")
    assert ours.median() < 1.03 * theirs.median()
    assert ours.median() > 0.9 * theirs.median()


def test_cws_constants_are_the_original_ones() -> None:
    theirs = {name: p.default for name, p in inspect.signature(L2CarliniWagnerAttack).parameters.items()}
    search = Search()
    assert (theirs["binary_search_steps"], theirs["steps"]) == (search.searches, search.iterations)
    assert (theirs["stepsize"], theirs["initial_const"]) == (search.learning_rate, search.initial)
    assert theirs["confidence"] == search.confidence == 0
    assert CarliniWagner().iterations == 10_000


@pytest.mark.slow
def test_cw_on_a_linear_model_reaches_the_border_and_no_further() -> None:
    p = LOGISTIC.build()
    assert isinstance(p.model, nn.Linear)
    labels = p.model(p.inputs).argmax(dim=1)
    logits, weight = p.model(p.inputs), p.model.weight
    gaps = (logits.gather(1, labels[:, None]) - logits).masked_fill(one_hot(labels, CLASSES) == 1, torch.inf)
    slopes = (weight[labels][:, None] - weight[None]).norm(dim=2)
    nearest = (gaps / slopes.where(slopes > 0, 1.0)).amin(dim=1)
    found = carlini_wagner(
        p.model, p.inputs, labels, Search(iterations=1500, searches=12, low=-9.0, high=9.0)
    )
    ratio = found.norm(dim=1) / nearest
    assert ratio.min() > 1 - 1e-6
    assert ratio.median() < 1.001
    assert ratio.max() < 1.06  # where two other classes are about as near, Adam swings between them


def test_cw_moves_pixels_that_are_black_or_white() -> None:
    model, x, y = digits()
    right = model(x.round()).argmax(dim=1) == y
    pure, y = x[right].round(), y[right]  # strokes in black and white
    found = carlini_wagner(model, pure, y, Search(iterations=30, searches=5))
    assert len(pure) > 30
    assert ((found != 0).flatten(1).sum(dim=1) > 0).all()
    assert (lead(model(pure + found), y) > 0).double().mean() > 0.9
    assert ((pure + found >= 0) & (pure + found <= 1)).all()


def test_a_search_that_fails_returns_what_came_nearest() -> None:
    model, x, y = digits()
    search = Search(confidence=1e6, iterations=20, searches=6)
    found = carlini_wagner(model, x, y, search)
    assert (found.flatten(1).norm(dim=1) > 0).all()
    assert (lead(model(x + found), y) > lead(model(x), y)).all()


def test_the_input_gradient_in_chunks() -> None:
    p = CONV.build()
    whole, parts = (input_gradient(p.model, p.inputs, p.labels, chunk_size=size) for size in (100, 4))
    assert torch.allclose(whole, parts, rtol=1e-12)
