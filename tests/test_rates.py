"""Conversion and evasion rates, counted by hand from a confusion matrix."""

import pytest
import torch
from torch import Tensor, nn

from midstream import conversion_rate, cross_entropy, evasion_rate
from midstream_server.runs.evaluation import evaluate

# Row: the true class; column: the predicted one; entry: how many inputs.
CONFUSION = [
    [7, 2, 1],
    [0, 4, 0],
    [3, 5, 2],
]
# Of each class: others predicted as it, out of so many; its own predicted as others, out of so many.
RATES = [
    ((3, 14), (3, 10)),
    ((7, 20), (0, 4)),
    ((1, 14), (8, 10)),
]


def confused() -> tuple[Tensor, Tensor]:
    """Return predictions and labels with that confusion, in no particular order."""
    pairs = [
        (predicted, true)
        for true, row in enumerate(CONFUSION)
        for predicted, count in enumerate(row)
        for _ in range(count)
    ]
    shuffled = torch.tensor(pairs)[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))]
    return shuffled[:, 0], shuffled[:, 1]


@pytest.mark.parametrize("target", range(3))
def test_the_rates_of_a_confusion_matrix(target: int) -> None:
    (converted, others), (evaded, own) = RATES[target]
    assert conversion_rate(*confused(), target) == converted / others
    assert evasion_rate(*confused(), target) == evaded / own


def test_a_share_of_nothing_is_none() -> None:
    predictions, labels = torch.tensor([0, 1]), torch.tensor([1, 1])
    assert conversion_rate(predictions, labels, target=1) is None
    assert evasion_rate(predictions, labels, target=0) is None
    assert evasion_rate(predictions, labels, target=1) == 0.5


def labelled() -> tuple[Tensor, Tensor]:
    """Return inputs that an identity network predicts with that confusion, and their labels."""
    predictions, labels = confused()
    return nn.functional.one_hot(predictions, 3).float(), labels


@pytest.mark.parametrize("target", [None, 0, 1, 2])
def test_an_evaluation_measures_the_target_on_the_test_set(target: int | None) -> None:
    test, validation = labelled(), (torch.eye(3), torch.tensor([0, 1, 0]))
    found, predicted = evaluate(nn.Identity(), step=5, validation=validation, test=test, target=target)
    assert found.step == 5
    assert predicted is not None
    assert torch.equal(predicted, confused()[0])
    assert found.test_accuracy == 13 / 24
    assert found.test_loss == pytest.approx(cross_entropy(*test).item() / 24)
    assert found.validation_accuracy == 2 / 3
    assert found.validation_loss == pytest.approx(cross_entropy(*validation).item() / 3)
    rates = (found.conversion_rate, found.evasion_rate)
    assert rates == ((None, None) if target is None else tuple(hits / of for hits, of in RATES[target]))
