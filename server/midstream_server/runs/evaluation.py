"""Evaluation of a model: losses, measures of its predictions, and the rates of a targeted attack."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import CHUNK, chunks
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.rates import conversion_rate, evasion_rate
from midstream.players.checks import Checks
from midstream.players.interface import Batch
from midstream.run.training import DivergedError
from midstream.tasks.measures import MEASURES
from midstream.tasks.task import Task


@dataclass(frozen=True)
class Evaluation:
    """The model's quality after a number of steps: losses per example, accuracies in [0, 1].

    The accuracies are None if the task is not classification; `measures` then holds its measures by name,
    such as `test_r2` and `validation_r2`. The two rates are shares of test inputs, see
    `midstream.mathematics.rates`. They are None if the run has no target class, or if the test set holds no
    input that they count.
    """

    step: int
    test_accuracy: float | None
    test_loss: float
    validation_accuracy: float | None
    validation_loss: float
    conversion_rate: float | None
    evasion_rate: float | None
    measures: Mapping[str, float] | None = None

    def of_test(self) -> dict[str, float | None]:
        """Return the measures of the test set by name: `test_accuracy`, or those of another task."""
        if self.measures is None:
            return {"test_accuracy": self.test_accuracy}
        return {name: value for name, value in self.measures.items() if name.startswith("test_")}


Labelled = tuple[Tensor, Tensor]


def evaluate(
    model: nn.Module,
    *,
    step: int,
    validation: Labelled,
    test: Labelled,
    target: int | None,
    task: Task | None = None,
) -> tuple[Evaluation, Tensor | None]:
    """Return losses, measures and, if there is a target class, its rates; and the predicted test classes.

    A task without classes has no predictions.

    Args:
        model: the model, in evaluation mode.
        step: steps taken so far.
        validation: inputs and labels of the validation set.
        test: inputs and labels of the test set.
        target: the class whose rates are measured, or None.
        task: what the model learns; None for classification by cross-entropy.
    """
    task = task or Task()
    test_loss, outputs = _predict(model, *test, task.loss)
    validation_loss, guesses = _predict(model, *validation, task.loss)
    measure, labels = MEASURES[task.kind], test[1]
    found, other = measure(outputs, labels), measure(guesses, validation[1])
    predictions = outputs.argmax(1) if task.classifies else None
    rates: tuple[float | None, float | None] = (None, None)
    if target is not None and predictions is not None:
        rates = (conversion_rate(predictions, labels, target), evasion_rate(predictions, labels, target))
    evaluated = Evaluation(
        step=step,
        test_accuracy=found.get("accuracy"),
        test_loss=test_loss,
        validation_accuracy=other.get("accuracy"),
        validation_loss=validation_loss,
        conversion_rate=rates[0],
        evasion_rate=rates[1],
        measures=None
        if task.classifies
        else {f"test_{name}": value for name, value in found.items()}
        | {f"validation_{name}": value for name, value in other.items()},
    )
    return evaluated, predictions


def _predict(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> tuple[float, Tensor]:
    total, outputs = 0.0, []
    with torch.no_grad():
        for part_inputs, part_labels in chunks(inputs, labels, CHUNK):
            outputs.append(model(part_inputs))
            total += loss(outputs[-1], part_labels).item()
    return total / len(labels), torch.cat(outputs)


def loss_of(model: nn.Module, batch: Batch, checks: Checks, *, loss: Loss = cross_entropy) -> float:
    """Return the mean loss of a batch that is not trained on.

    Args:
        model: the model, in evaluation mode.
        batch: the batch, on the model's device.
        checks: conditions on the batch that are still to be read; they are settled here.
        loss: a loss that sums over its batch.

    Raises:
        DivergedError: the loss is infinite or NaN.
    """
    with torch.no_grad():
        sum_ = loss(model(batch.inputs), batch.labels)
    checks.require(sum_.isfinite(), lambda: DivergedError(f"the loss of batch {batch.seq} is {sum_.item()}"))
    total = checks.number(sum_)
    checks.settle()
    return total.value / len(batch.labels)
