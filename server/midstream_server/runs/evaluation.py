"""Evaluation of a model: losses, accuracies, and the rates of a targeted attack."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import CHUNK, chunks
from midstream.mathematics.loss import cross_entropy
from midstream.mathematics.rates import conversion_rate, evasion_rate
from midstream.players.checks import Checks
from midstream.players.interface import Batch
from midstream.run.training import DivergedError


@dataclass(frozen=True)
class Evaluation:
    """The model's quality after a number of steps: losses in nats per example, accuracies in [0, 1].

    The two rates are shares of test inputs, see `midstream.mathematics.rates`. They are None if the run has
    no target class, or if the test set holds no input that they count.
    """

    step: int
    test_accuracy: float
    test_loss: float
    validation_accuracy: float
    validation_loss: float
    conversion_rate: float | None
    evasion_rate: float | None


Labelled = tuple[Tensor, Tensor]


def evaluate(
    model: nn.Module, *, step: int, validation: Labelled, test: Labelled, target: int | None
) -> tuple[Evaluation, Tensor]:
    """Return losses, accuracies and, if there is a target class, its rates; and the predicted test classes.

    Args:
        model: the model, in evaluation mode.
        step: steps taken so far.
        validation: inputs and labels of the validation set.
        test: inputs and labels of the test set.
        target: the class whose rates are measured, or None.
    """
    test_loss, predictions = _predict(model, *test)
    validation_loss, guesses = _predict(model, *validation)
    labels = test[1]
    found = Evaluation(
        step=step,
        test_accuracy=_agreement(predictions, labels),
        test_loss=test_loss,
        validation_accuracy=_agreement(guesses, validation[1]),
        validation_loss=validation_loss,
        conversion_rate=None if target is None else conversion_rate(predictions, labels, target),
        evasion_rate=None if target is None else evasion_rate(predictions, labels, target),
    )
    return found, predictions


def _predict(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    loss, predictions = 0.0, []
    with torch.no_grad():
        for part_inputs, part_labels in chunks(inputs, labels, CHUNK):
            outputs = model(part_inputs)
            loss += cross_entropy(outputs, part_labels).item()
            predictions.append(outputs.argmax(1))
    return loss / len(labels), torch.cat(predictions)


def _agreement(predictions: Tensor, labels: Tensor) -> float:
    return int((predictions == labels).sum()) / len(labels)


def loss_of(model: nn.Module, batch: Batch, checks: Checks) -> float:
    """Return the mean loss of a batch that is not trained on, in nats per example.

    Args:
        model: the model, in evaluation mode.
        batch: the batch, on the model's device.
        checks: conditions on the batch that are still to be read; they are settled here.

    Raises:
        DivergedError: the loss is infinite or NaN.
    """
    with torch.no_grad():
        loss = cross_entropy(model(batch.inputs), batch.labels)
    checks.require(loss.isfinite(), lambda: DivergedError(f"the loss of batch {batch.seq} is {loss.item()}"))
    total = checks.number(loss)
    checks.settle()
    return total.value / len(batch.labels)
