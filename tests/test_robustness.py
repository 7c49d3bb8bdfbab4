"""Test-time robustness against Foolbox's attacks, against closed forms, and where an attack fails."""

import pytest
import torch
from torch import Tensor, nn
from trained_classifier import digits

from midstream.attacks.adversarial.cw import Search
from midstream.attacks.robustness import robustness, suspicions
from midstream.run import datasets

QUICK = Search(searches=6, iterations=300)


def images() -> tuple[Tensor, Tensor]:
    test = datasets.load("digits", datasets.Source()).test
    return test.inputs, test.labels


def test_the_accuracies_are_those_under_foolboxs_attacks() -> None:
    from foolbox_attacks import LinfFastGradientAttack, LinfPGD, Misclassification, PyTorchModel

    (model, _, _), (x, y), epsilon = digits(), images(), 0.06
    theirs = PyTorchModel(model, bounds=(0, 1), device="cpu")

    def accuracy(attack: LinfPGD | LinfFastGradientAttack, radius: float) -> float:
        moved = attack.run(theirs, x, Misclassification(y), epsilon=radius)
        return int((model(moved).argmax(dim=1) == y).sum()) / len(y)

    found = robustness(model, x, y, epsilon=epsilon)
    near = pytest.approx
    one = 1.01 / len(x)  # an image at the border
    assert found.clean == (model(x).argmax(dim=1) == y).double().mean().item()
    assert found.fgsm == near(accuracy(LinfFastGradientAttack(random_start=False), epsilon), abs=one)
    for radius, ours in ((epsilon, found.pgd), (2 * epsilon, found.pgd_doubled)):
        attack = LinfPGD(abs_stepsize=radius / 2, steps=5, random_start=False)
        assert ours == near(accuracy(attack, radius), abs=one)
    assert 0 < found.pgd_doubled < found.pgd < found.clean
    assert found.pgd - 0.1 < found.yopo < found.clean
    assert found.cw is None
    assert suspicions(found, classes=10) == []


@pytest.mark.slow
def test_cws_success_and_distance_are_foolboxs() -> None:
    from foolbox_attacks import L2CarliniWagnerAttack, Misclassification, PyTorchModel

    (model, _, _), (x, y) = digits(), images()
    x, y = x[:40], y[:40]
    found = robustness(model, x, y, epsilon=0.06, cw_inputs=40, search=QUICK).cw
    right = model(x).argmax(dim=1) == y
    attack = L2CarliniWagnerAttack(binary_search_steps=6, steps=300)
    _, moved, succeeded = attack(
        PyTorchModel(model, bounds=(0, 1), device="cpu"), x[right], Misclassification(y[right]), epsilons=None
    )
    assert found is not None
    assert found.inputs == int(right.sum())
    assert found.success_rate == succeeded.double().mean().item() == 1
    distance = (moved - x[right]).flatten(1).norm(dim=1).median().item()
    assert found.median_distance == pytest.approx(distance, rel=0.03)


@pytest.mark.slow
def test_on_a_linear_model_in_closed_form() -> None:
    random = torch.Generator().manual_seed(0)
    model = nn.Linear(6, 2, bias=False)
    weight = torch.randn(2, 6, generator=random)
    model.weight.data.copy_(weight - weight.mean(dim=1, keepdim=True))  # the border passes the middle grey
    x = 0.4 + 0.2 * torch.rand(41, 6, generator=random)  # no pixel comes near 0 or 1
    y = model(x).argmax(dim=1)
    margin = (model(x)[:, 0] - model(x)[:, 1]).abs().detach()
    slope = (model.weight[0] - model.weight[1]).detach()
    epsilon = (margin.median() / slope.norm(p=1)).item() * 1.001  # takes 21 of them over the border
    found = robustness(model, x, y, epsilon=epsilon, cw_inputs=41, search=Search(searches=9, iterations=600))
    assert found.clean == 1
    assert found.fgsm == found.pgd == found.yopo == pytest.approx(20 / 41)
    assert found.cw is not None
    assert found.cw.success_rate == 1
    assert found.cw.median_distance == pytest.approx((margin / slope.norm()).median().item(), rel=0.01)


class Saturated(nn.Module):
    """The same classes as a model's, so surely that the loss is 0 in float32, and flat."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return 1e4 * logits


def test_a_model_whose_loss_is_flat_is_suspicious() -> None:
    (model, _, _), (x, y) = digits(), images()
    saturated = Saturated(model)
    found = robustness(saturated, x, y, epsilon=0.3)
    assert found.clean == robustness(model, x, y, epsilon=0.3).clean
    assert found.pgd > 0.5  # the attack, not the model
    said = " ".join(suspicions(found, classes=10))
    assert "no gradient" in said
    assert "a larger ball should lower it" in said


def test_a_search_that_is_too_short_is_suspicious() -> None:
    (model, _, _), (x, y) = digits(), images()
    found = robustness(model, x, y, epsilon=0.3, cw_inputs=20, search=Search(searches=1, iterations=5))
    assert found.cw is not None
    assert found.cw.success_rate < 0.5
    assert "CW" in " ".join(suspicions(found, classes=10))


def test_how_far_it_got_is_told() -> None:
    (model, _, _), (x, y) = digits(), images()
    told: list[tuple[int, int, str]] = []
    robustness(
        model,
        x,
        y,
        epsilon=0.1,
        cw_inputs=60,
        search=Search(searches=1, iterations=1),
        tell=lambda *how: told.append(how),
    )
    assert {text for _, _, text in told} == {"clean", "yopo", "pgd", "fgsm", "pgd doubled", "CW"}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] > len(x)
    assert all(done <= work for done, work, _ in told)
