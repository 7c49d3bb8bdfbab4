"""Every field of a batch, held against its run before it touches the model."""

import math
from dataclasses import dataclass

import torch

from midstream.mathematics.budget import PixelRange, pixel_bounds
from midstream.mathematics.pixels import pixels
from midstream.players.interface import Batch
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch


@dataclass(frozen=True)
class BatchRules:
    """What a run asks of its batches.

    Attributes:
        specification: the run.
        train_size: how many examples it is trained on.
        input_shape: shape of one input.
        classes: how many classes there are.
    """

    specification: Specification
    train_size: int
    input_shape: tuple[int, ...]
    classes: int

    @property
    def largest_body(self) -> int:
        """The most bytes that a batch can take."""
        return largest_body(min(self.specification.batch_size, self.train_size), self.input_shape)

    def check(self, batch: WireBatch, *, seq: int) -> Batch:
        """Return the batch that came as number `seq` as the game sees it.

        Raises:
            Problem: 422, it breaks a rule, and which.
        """
        check_number(batch, seq)
        length = self.specification.batch_length(seq, self.train_size)
        return check_batch(
            batch,
            seq=seq,
            length=length,
            input_shape=self.input_shape,
            classes=self.classes,
            pixel_range=self.specification.pixel_range,
        )


def largest_body(examples: int, input_shape: tuple[int, ...]) -> int:
    """Return the most bytes that a batch can take: float32 pixels, int64 labels, and some framing.

    >>> largest_body(500, (1, 28, 28))
    1576096
    """
    return examples * (4 * math.prod(input_shape) + 8) + 4096


def check_number(batch: WireBatch, seq: int) -> None:
    """Raise Problem 422 where a batch came under another sequence number than its own."""
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
) -> Batch:
    """Return the batch as the game sees it, inputs as float32 pixels.

    Args:
        batch: what arrived.
        seq: its sequence number, as of the request's path.
        length: how many examples this batch of the run holds.
        input_shape: shape of one input.
        classes: how many classes there are.
        pixel_range: whether pixels must lie in [0, 1], or may be any number.

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
    if tuple(batch.labels.shape) != (length,):
        raise _wrong(
            "labels", f"shape is {tuple(batch.labels.shape)}; batch {seq} of this run has {(length,)}"
        )
    if batch.inputs.dtype not in (torch.uint8, torch.float32):
        raise _wrong("inputs", f"dtype is {batch.inputs.dtype}; inputs are uint8 or float32")
    if batch.labels.dtype != torch.int64:
        raise _wrong("labels", f"dtype is {batch.labels.dtype}; labels are int64")
    inputs = pixels(batch.inputs)
    lowest, highest = (value.item() for value in inputs.aminmax())
    low, high = pixel_bounds(pixel_range)
    if not (lowest >= low and highest <= high and math.isfinite(highest - lowest)):  # also where it is NaN
        what = "hold a NaN" if lowest != lowest else f"range from {lowest} to {highest}"
        must = "lie in [0, 1]" if pixel_range == "valid" else "be finite"
        raise _wrong("inputs", f"the pixels {what}; they must {must}")
    first, last = (int(value) for value in batch.labels.aminmax())
    if not (first >= 0 and last < classes):
        raise _wrong("labels", f"they range from {first} to {last}; this run has classes 0 to {classes - 1}")
    return Batch(seq, inputs, batch.labels)


def _wrong(field: str, detail: str) -> Problem:
    return Problem(422, f"The batch's {field} do not fit this run", detail, field=field)
