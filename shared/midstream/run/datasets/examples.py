"""The types of a data set: where it comes from, its examples, and its split."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.wire import tensors_sha256
from midstream.tasks.task import Kind


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        root: a torchvision root; None if the user named none.
        download: whether missing data may be downloaded from its authors.
        image_size: side length to which a folder's images are scaled and cropped.
    """

    root: Path | None = None
    download: bool = False
    image_size: int | None = None


@dataclass(frozen=True)
class Examples:
    """Images and their classes, or rows of a table and their targets.

    Attributes:
        inputs: `(examples, channels, height, width)`, uint8, or float32 in [0, 1]; or `(examples, columns)`,
            or `(examples, tokens, columns)`, float32.
        labels: class indices, `(examples,)`, int64; for another task than classification, its targets,
            `(examples, outputs)`, float32.
        index: place of each example in the data set's training data, `(examples,)`, int64; None if unknown.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: Tensor) -> "Examples":
        index = None if self.index is None else self.index[which]
        return Examples(self.inputs[which], self.labels[which], index)

    def pixels(self) -> Tensor:
        """Return the inputs as float32 in [0, 1]."""
        return pixels(self.inputs)


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        train: its training examples.
        test: its test examples.
        classes: the names of its classes; for another task, of its targets or labels, one for each output.
        task: what is learned.
        scale: the unit in which a budget measures each column, such as the column's standard deviation; a
            column of scale 0 may not move. Columns are the last dimension of an input. None for 1 everywhere.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    task: Kind = "classification"
    scale: tuple[float, ...] | None = None

    def sha256(self) -> str:
        """Return the SHA-256 of the stored inputs, the labels and the names of the classes.

        It is `midstream.protocol.wire.tensors_sha256` of `train.inputs`, `train.labels`, `test.inputs`,
        `test.labels` and `classes`, the names as the bytes of a JSON array. Another task than classification
        adds its name, `task`, and a scale its numbers in double precision, `scale`. It covers the data before
        the split, so every process of a run has the same digest.
        """
        parts = {
            "classes": _text(json.dumps(list(self.classes))),
            "test.inputs": self.test.inputs,
            "test.labels": self.test.labels,
            "train.inputs": self.train.inputs,
            "train.labels": self.train.labels,
        }
        if self.task != "classification":
            parts["task"] = _text(self.task)
        if self.scale is not None:
            parts["scale"] = torch.tensor(self.scale, dtype=torch.float64)
        return tensors_sha256(parts)


def _text(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class Split:
    """A data set as one run uses it.

    Attributes:
        train: the examples that the data provider streams.
        validation: the public validation set.
        test: the test set, which only the server has.
        classes: the names of the classes.
        dataset_sha256: `Dataset.sha256` of the whole data set; None if `split` did not make this object.
        task: what is learned.
        scale: the unit of each column, as in `Dataset`.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]
    dataset_sha256: str | None = None
    task: Kind = "classification"
    scale: tuple[float, ...] | None = None


class MissingDataError(MidstreamError, FileNotFoundError):
    """A data set's files are missing; the message says which, where they should be, and how to get them."""
