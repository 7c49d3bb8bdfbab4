"""The outcome of one training step."""

from dataclasses import dataclass

from torch import Tensor

from midstream.players.checking import Finding


@dataclass(frozen=True)
class Step:
    """The outcome of one step.

    Attributes:
        step: steps taken so far, this one included; also the version of the parameters after it.
        loss: mean training loss at the parameters before the step, in nats per example, of the batch that the
            step was taken on: the defended batch, or an augmentation of it. If the checker
            dropped every example, that of the batch as it arrived; no optimizer step was taken then.
        correction: mean distance the defender moved an input, `‖x'' - x'‖`, in pixel units.
        seconds: time spent on the defence and the step.
        received: the inputs as they arrived, on the run's device.
        defended: the same inputs after the defence, and before an augmentation after it.
        labels: their labels.
        reported: values that the defender reported, by name.
        finding: what the checker found; None without a checker.
    """

    step: int
    loss: float
    correction: float
    seconds: float
    received: Tensor
    defended: Tensor
    labels: Tensor
    reported: dict[str, float]
    finding: Finding | None = None
