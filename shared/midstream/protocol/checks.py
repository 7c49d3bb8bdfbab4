"""Validation of every field of a batch before it reaches the model."""

import math
from dataclasses import dataclass

import torch

from midstream.mathematics.budget import PixelRange, pixel_bounds
from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.tasks.targets import fault
from midstream.tasks.task import Kind


@dataclass(frozen=True)
class BatchRules:
    """The rules for a run's batches.

    Attributes:
        specification: the run's specification.
        train_size: number of training examples.
        input_shape: shape of one input.
        classes: number of classes; for another task, of outputs.
        task: what the targets are.
    """

    specification: Specification
    train_size: int
    input_shape: tuple[int, ...]
    classes: int
    task: Kind = "classification"

    @property
    def largest_body(self) -> int:
        """Maximum size of an encoded batch, in bytes."""
        most = self.specification.batch_limits(0, self.train_size)[1]  # no later minibatch is larger
        targets = 1 if self.task == "classification" else self.classes
        return largest_body(most, self.input_shape, targets=targets)

    def check(self, batch: WireBatch, *, seq: int) -> Batch:
        """Validate the batch received as number `seq`, and return it with its inputs as float32 pixels.

        Raises:
            Problem: 422, naming the rule that the batch breaks.
        """
        check_number(batch, seq)
        least, most = self.specification.batch_limits(seq, self.train_size)
        length = min(max(len(batch.labels), least), most) if batch.labels.dim() else most
        return check_batch(
            batch,
            seq=seq,
            length=length,
            input_shape=self.input_shape,
            classes=self.classes,
            pixel_range=self.specification.pixel_range,
            task=self.task,
        )


def largest_body(examples: int, input_shape: tuple[int, ...], *, targets: int = 1) -> int:
    """Return the maximum size of an encoded batch in bytes: float32 pixels, labels, and framing.

    Labels are int64, or `targets` float32 numbers for each example; the larger counts.

    >>> largest_body(500, (1, 28, 28))
    1576096
    """
    return examples * (4 * math.prod(input_shape) + max(8, 4 * targets)) + 4096


def check_number(batch: WireBatch, seq: int) -> None:
    """Raise Problem 422 if the sequence number in the batch differs from the one in the path."""
    if batch.seq != seq:
        raise _wrong("seq", f"the body says batch {batch.seq}, the path {seq}; they must agree")


def check_batch(
    batch: WireBatch,
    *,
    seq: int,
    length: int,
    input_shape: tuple[int, ...],
    classes: int,
    pixel_range: PixelRange = "valid",
    task: Kind = "classification",
) -> Batch:
    """Validate a batch, and return it with its inputs as float32 pixels.

    Args:
        batch: the batch as received.
        seq: its sequence number, from the request's path.
        length: number of examples that this batch of the run must hold.
        input_shape: shape of one input.
        classes: number of classes; for another task, of outputs.
        pixel_range: whether pixels must lie in [0, 1] or only be finite.
        task: what the targets are.

    Raises:
        Problem: 422, naming the field and its value.
    """
    if batch.parameters_version is not None and batch.parameters_version > seq:
        raise _wrong(
            "parameters_version",
            f"batch {seq} was computed against parameters {batch.parameters_version}, which come after it",
        )
    expected = (length, *input_shape)
    if tuple(batch.inputs.shape) != expected:
        raise _wrong(
            "inputs", f"shape is {tuple(batch.inputs.shape)}; batch {seq} of this run has {expected}"
        )
    if task == "classification" and tuple(batch.labels.shape) != (length,):
        raise _wrong(
            "labels", f"shape is {tuple(batch.labels.shape)}; batch {seq} of this run has {(length,)}"
        )
    if batch.inputs.dtype not in (torch.uint8, torch.float32):
        raise _wrong("inputs", f"dtype is {batch.inputs.dtype}; inputs are uint8 or float32")
    if (
        task != "classification"
        and (reason := fault(task, batch.labels, length=length, outputs=classes)) is not None
    ):
        raise _wrong("labels", f"they {reason}")
    if task == "classification" and batch.labels.dtype != torch.int64:
        raise _wrong("labels", f"dtype is {batch.labels.dtype}; labels are int64")
    inputs = pixels(batch.inputs)
    bounds = torch.stack([*inputs.aminmax(), *batch.labels.aminmax()])
    lowest, highest, first, last = bounds.tolist()  # one read, wherever the batch is
    low, high = pixel_bounds(pixel_range)
    if not (lowest >= low and highest <= high and math.isfinite(highest - lowest)):  # false for NaN as well
        what = "hold a NaN" if lowest != lowest else f"range from {lowest} to {highest}"
        must = "lie in [0, 1]" if pixel_range == "valid" else "be finite"
        raise _wrong("inputs", f"the pixels {what}; they must {must}")
    if task == "classification" and not (first >= 0 and last < classes):
        first, last = (int(value) for value in batch.labels.aminmax())
        raise _wrong("labels", f"they range from {first} to {last}; this run has classes 0 to {classes - 1}")
    return Batch(seq, inputs, batch.labels)


def _wrong(field: str, detail: str) -> Problem:
    return Problem(422, f"The batch's {field} do not fit this run", detail, field=field)
