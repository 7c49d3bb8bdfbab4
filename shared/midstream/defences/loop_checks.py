"""Cheap checks of the inputs and labels of `Defender`, at each call."""

import math

import torch
from torch import Tensor, nn

from midstream.defences.own_loop.soft_labels import check_soft_labels
from midstream.mathematics.budget import Budget
from midstream.mathematics.inputs.pixel_space import PixelSpace
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.loss import Loss, cross_entropy

_IGNORED = -100  # the label that torch's cross-entropy ignores


class LoopChecks:
    """Checks inputs and labels against a budget's pixel range, a model and its loss.

    Args:
        budget: the ball and the pixel range.
        space: converts inputs to pixels.
        loss: for `midstream.cross_entropy`, labels must be class indices; for another loss, only the number
            and the device of the targets are checked.
    """

    def __init__(self, budget: Budget, space: PixelSpace, loss: Loss) -> None:
        self._budget = budget
        self._space = space
        self._indices = loss is cross_entropy
        self._classes: int | None = None
        self._dimensions: int | None = None
        self._validation: tuple[Tensor, Tensor] | None = None

    def validation(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the pixels of validation inputs; uint8 stays uint8 and is read as x/255 chunk by chunk.

        Raises:
            ValueError: the inputs or the labels are invalid; the message says why.
        """
        what = "validation inputs"
        _check_tensor(what, inputs)
        if inputs.dtype == torch.uint8:
            if self._space.normalization is not None or (self._budget.low, self._budget.high) != (0, 1):
                raise ValueError(
                    f"{what} are torch.uint8, which is read as x/255: that fits only a pixel range of (0, 1) "
                    f"without normalization. Give floats, as the model reads them"
                )
        else:
            inputs = self._pixels(what, inputs)
        self._check_labels("validation labels", labels, inputs, None)
        self._validation = inputs, labels
        return inputs

    def batch(self, inputs: Tensor, labels: Tensor, *, model: nn.Module) -> Tensor:
        """Return the pixels of a batch's inputs; call `validation` first.

        Args:
            inputs: the batch.
            labels: its labels.
            model: the model in training, which takes the inputs.

        Raises:
            ValueError: the inputs or the labels are invalid; the message says why.
        """
        assert self._validation is not None
        like, known = self._validation
        _check_tensor("inputs", inputs)
        if inputs.dtype == torch.uint8:
            raise ValueError(
                "inputs are torch.uint8, which cannot be moved by less than 1; give floats, as the model "
                "reads them: inputs.float() / 255"
            )
        if inputs.dim() != like.dim():
            raise ValueError(
                f"inputs have shape {tuple(inputs.shape)}, the validation inputs {tuple(like.shape)}; give a "
                f"batch, whose first dimension counts the examples"
            )
        device = next((parameter.device for parameter in model.parameters()), inputs.device)
        for what, tensor in (("the model", device), ("the validation inputs", like.device)):
            if tensor != inputs.device:
                raise ValueError(
                    f"inputs are on {inputs.device}, {what} on {tensor}; bring them to one device"
                )
        at = self._pixels("inputs", inputs)
        if self._classes is None and self._indices:
            outputs = _outputs_of(model, self._space.inputs(pixels(like[:1])))
            classes, self._dimensions = (None, None) if outputs is None else (outputs[1], len(outputs) - 1)
            self._check_labels("validation labels", known, like, classes)
            self._classes = classes
        self._check_labels("labels", labels, inputs, self._classes)
        return at

    def _pixels(self, what: str, inputs: Tensor) -> Tensor:
        if not inputs.is_floating_point():
            raise ValueError(
                f"{what} are {inputs.dtype}; give floats: what is only counted, such as a token, cannot be "
                f"moved within a budget"
            )
        if inputs.dim() < 2 or inputs.numel() == 0:
            raise ValueError(
                f"{what} have shape {tuple(inputs.shape)}; it must be (examples, *input), with at least one "
                f"example"
            )
        at = self._space.pixels(inputs)
        if (found := self._budget.beyond(at)) is not None:
            if not math.isfinite(found[1] - found[0]):
                wrong = ~at.detach().flatten(1).isfinite().all(dim=1)
                raise ValueError(
                    f"{what} hold a NaN or an infinity in {int(wrong.sum())} of {len(wrong)} examples, the "
                    f"first of them example {int(wrong.nonzero()[0])}; leave them out, or repair them"
                )
            raise ValueError(
                f"{what} range from {found[0]:g} to {found[1]:g}, outside of the pixel range "
                f"[{self._budget.low:g}, {self._budget.high:g}]: {self._hint(*found)}"
            )
        return at

    def _hint(self, lowest: float, highest: float) -> str:
        low, high = self._budget.low, self._budget.high
        if self._space.normalization is not None:
            return (
                f"these are input · std + mean by normalization={self._space.normalization!r}. Give the mean "
                f"and the standard deviation that the inputs were normalised by"
            )
        if lowest < low == 0:
            return (
                "they look normalised. Give normalization=(mean, std), what they were normalised by, and "
                "epsilon in units of the pixels before"
            )
        return (
            f"scale them, or give their range as pixel_range, such as ({min(low, lowest):g}, "
            f"{max(high, highest):g}), and epsilon in the same units"
        )

    def _check_labels(self, what: str, labels: Tensor, inputs: Tensor, classes: int | None) -> None:
        _check_tensor(what, labels)
        if labels.dim() == 0 or len(labels) != len(inputs):
            raise ValueError(
                f"{what} have shape {tuple(labels.shape)} for {len(inputs)} inputs; give one label an example"
            )
        if labels.device != inputs.device:
            raise ValueError(
                f"{what} are on {labels.device}, the inputs on {inputs.device}; bring them to one"
            )
        if not self._indices:
            return  # targets of another loss
        if labels.is_floating_point() and labels.dim() > 1:
            check_soft_labels(what, labels, classes)
            return
        if labels.dtype not in (torch.int64, torch.uint8):
            raise ValueError(f"{what} are {labels.dtype}; give class indices as int64: labels.long()")
        if self._dimensions not in (None, labels.dim()):
            raise ValueError(
                f"{what} have shape {tuple(labels.shape)} and {labels.dtype}; give one class index an "
                f"example, or the share of each class in floating point: labels.float()"
            )
        first, last = (int(value) for value in torch.stack(labels.aminmax()).tolist())
        if first < 0:
            counted = labels[labels != _IGNORED]
            first = int(counted.min()) if len(counted) else 0
        if first < 0 or (classes is not None and last >= classes):
            known = "count from 0" if classes is None else f"are 0 to {classes - 1}"
            raise ValueError(f"{what} range from {first} to {last}; the model's classes {known}")


def _check_tensor(what: str, found: object) -> None:
    if not isinstance(found, Tensor):
        raise ValueError(f"{what} are a {type(found).__name__}, not a tensor; torch.as_tensor makes one")


def _outputs_of(model: nn.Module, one: Tensor) -> tuple[int, ...] | None:
    """Return the shape of a model's output for one input; None if it does not tell the number of classes."""
    devices = [one.device] if one.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        outputs = model(one)
    return tuple(outputs.shape) if isinstance(outputs, Tensor) and outputs.dim() > 1 else None
