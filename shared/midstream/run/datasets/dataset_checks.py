"""Validate a data set once, when it is loaded."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.mathematics.budget import PixelRange, pixel_bounds


class DatasetError(MidstreamError, ValueError):
    """A data set cannot be trained on. The message names the data set, the part, the value and a remedy."""


class DifferentDatasetError(DatasetError):
    """The data set on this machine differs from the run's."""


def refuse_other_data(name: str, here: str | None, run: str | None) -> None:
    """Compare the digest of this machine's data set with the run's.

    Args:
        name: name of the data set, for the message.
        here: `midstream.run.datasets.Dataset.sha256` on this machine.
        run: digest of the run's data set; None skips the comparison.

    Raises:
        DifferentDatasetError: the digests differ.
    """
    if run is not None and here != run:
        raise DifferentDatasetError(
            f"data set {name!r} of this process differs from the run's: its SHA-256 is {str(here)[:12]}…, "
            f"the run's is {run[:12]}…. Every process must read the same data: compare the files and the "
            f"versions of the libraries that read them. If the data set is a function, seed it"
        )


def check_dataset(
    name: str,
    parts: Mapping[str, object],
    classes: object,
    *,
    image_size: int | None = None,
    pixel_range: PixelRange = "valid",
) -> None:
    """Refuse a data set that cannot be trained on, or that would train incorrectly.

    float32 inputs are scanned once for NaN, infinities and the pixel range; uint8 inputs need no scan.

    Args:
        name: name of the data set, for the message.
        parts: `midstream.run.datasets.Examples` by part; `train` is required.
        classes: the names of the classes, in the order of the labels.
        image_size: the requested side length; None if none was requested.
        pixel_range: whether float32 inputs must lie in [0, 1], or may be any finite number.

    Raises:
        DatasetError: the data set violates a rule of `midstream.run.datasets.Dataset`.

    >>> from midstream import Examples
    >>> part = Examples(torch.zeros(2, 1, 8, 8), torch.tensor([0, 7]))
    >>> check_dataset("mine", {"train": part, "test": part}, ("cat", "dog"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    midstream.run.datasets.dataset_checks.DatasetError: data set 'mine', train: labels range from 0 to 7 ...
    """
    count = _check_classes(name, classes)
    checked = {
        part: _check_part(f"data set {name!r}, {part}", examples, count, pixel_range)
        for part, examples in parts.items()
    }
    shape = checked["train"][0].shape[1:]
    for part, (inputs, _) in checked.items():
        if inputs.shape[1:] != shape:
            raise DatasetError(
                f"data set {name!r}: inputs have shape {tuple(shape)} in train and "
                f"{tuple(inputs.shape[1:])} in {part}; make the shapes equal"
            )
    if image_size is not None and tuple(shape[1:]) != (image_size, image_size):
        raise DatasetError(
            f"data set {name!r} has inputs of shape {tuple(shape)}, not of image size {image_size}: only "
            f"folder: data sets and functions that read source.image_size are scaled. Remove --image-size"
        )
    labels = checked["train"][1]
    if bool((labels == labels[0]).all()):
        raise DatasetError(
            f"data set {name!r}, train: all {len(labels)} labels are {int(labels[0])}; training needs "
            f"examples of at least two classes"
        )


def _check_part(where: str, examples: object, classes: int, pixel_range: PixelRange) -> tuple[Tensor, Tensor]:
    if not (hasattr(examples, "inputs") and hasattr(examples, "labels")):
        raise DatasetError(
            f"{where}: it is a {type(examples).__name__}; it must be a midstream.run.datasets.Examples of "
            f"inputs and labels"
        )
    inputs = _check_inputs(where, examples.inputs, pixel_range)
    return inputs, _check_labels(where, examples.labels, len(inputs), classes)


def _check_classes(name: str, classes: object) -> int:
    if isinstance(classes, str) or not isinstance(classes, (tuple, list)):
        raise DatasetError(
            f"data set {name!r}: classes is {classes!r}, a {type(classes).__name__}; give a tuple of names"
        )
    for one in classes:
        if not isinstance(one, str):
            raise DatasetError(f"data set {name!r}: class name {one!r} is not a str")
    if len(classes) < 2:
        raise DatasetError(
            f"data set {name!r}: it names {len(classes)} class{'' if len(classes) == 1 else 'es'}, "
            f"{tuple(classes)}; a classifier needs at least two"
        )
    return len(classes)


def _check_inputs(where: str, inputs: object, pixel_range: PixelRange) -> Tensor:
    inputs = _check_tensor(where, "inputs", inputs)
    if inputs.dtype not in (torch.uint8, torch.float32):
        raise DatasetError(
            f"{where}: inputs are {inputs.dtype}; return uint8, or float32 in [0, 1], which .float() makes"
        )
    if len(inputs) == 0:
        raise DatasetError(f"{where}: it has no examples; at least one is required")
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise DatasetError(
            f"{where}: inputs have shape {tuple(inputs.shape)}; it must be (examples, channels, height, "
            f"width) or (examples, features)"
        )
    if inputs.dtype == torch.float32:
        _check_values(where, inputs, pixel_range)
    return inputs


def _check_values(where: str, inputs: Tensor, pixel_range: PixelRange) -> None:
    lowest, highest = (value.item() for value in inputs.aminmax())
    if not math.isfinite(highest - lowest):
        wrong = ~inputs.flatten(1).isfinite().all(dim=1)
        value = inputs[wrong][0].flatten()
        kind = "a NaN" if value.isnan().any() else "an infinity"
        raise DatasetError(
            f"{where}: inputs hold {kind} in {int(wrong.sum())} of {len(inputs)} examples, first in "
            f"example {int(wrong.nonzero()[0])}; remove or repair them"
        )
    low, high = pixel_bounds(pixel_range)
    if not (low <= lowest and highest <= high):
        hint = (
            "scale them to [0, 1] and move the normalisation into the model"
            if lowest < 0
            else "divide them by 255, or return them as uint8"
            if 1 < highest <= 255
            else "scale them to [0, 1]"
        )
        raise DatasetError(
            f"{where}: inputs range from {lowest:g} to {highest:g}, not within [0, 1]; {hint} "
            f"(--pixel-range unbounded accepts any finite numbers)"
        )


def _check_labels(where: str, labels: object, examples: int, classes: int) -> Tensor:
    labels = _check_tensor(where, "labels", labels)
    if labels.dtype != torch.int64:
        raise DatasetError(
            f"{where}: labels are {labels.dtype}; return class indices as int64, which .long() makes"
        )
    if tuple(labels.shape) != (examples,):
        raise DatasetError(
            f"{where}: labels have shape {tuple(labels.shape)} for {examples} inputs; it must be "
            f"({examples},)"
        )
    first, last = (int(value) for value in labels.aminmax())
    if first < 0 or last >= classes:
        wrong = (labels < 0) | (labels >= classes)
        at = int(wrong.nonzero()[0])
        raise DatasetError(
            f"{where}: labels range from {first} to {last} (example {at} has {int(labels[at])}), but it "
            f"names {classes} classes; number the classes from 0 to {classes - 1}"
        )
    return labels


def _check_tensor(where: str, what: str, found: object) -> Tensor:
    if not isinstance(found, Tensor):
        kind = f"{type(found).__module__}.{type(found).__name__}".removeprefix("builtins.")
        hint = "torch.from_numpy makes one" if kind == "numpy.ndarray" else "torch.tensor makes one"
        if what == "labels" and isinstance(found, (list, tuple)) and found and isinstance(found[0], str):
            kind += f" of str, such as {found[0]!r}"
            hint = "number the classes from 0 and put their names in Dataset.classes"
        raise DatasetError(f"{where}: {what} are a {kind}, not a tensor; {hint}")
    if found.device.type != "cpu" or found.requires_grad or found.layout != torch.strided:
        raise DatasetError(
            f"{where}: {what} are on {found.device}, {found.layout}, requires_grad={found.requires_grad}; "
            f"return plain dense tensors on the CPU, which .detach(), .to_dense() and .cpu() make"
        )
    return found
