"""The types of a data set: where it comes from, its examples, and its split."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.wire import tensors_sha256


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
    """Images and their classes.

    Attributes:
        inputs: `(examples, channels, height, width)`, uint8, or float32 in [0, 1].
        labels: class indices, `(examples,)`, int64.
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
    """A data set: its training examples, its test examples, and the names of its classes."""

    train: Examples
    test: Examples
    classes: tuple[str, ...]

    def sha256(self) -> str:
        """Return the SHA-256 of the stored inputs, the labels and the names of the classes.

        It is `midstream.protocol.wire.tensors_sha256` of `train.inputs`, `train.labels`, `test.inputs`,
        `test.labels` and `classes`, the names as the bytes of a JSON array. It covers the data before the
        split, so every process of a run has the same digest.
        """
        names = json.dumps(list(self.classes)).encode()
        return tensors_sha256(
            {
                "classes": torch.frombuffer(bytearray(names), dtype=torch.uint8),
                "test.inputs": self.test.inputs,
                "test.labels": self.test.labels,
                "train.inputs": self.train.inputs,
                "train.labels": self.train.labels,
            }
        )


@dataclass(frozen=True)
class Split:
    """A data set as one run uses it.

    Attributes:
        train: the examples that the data provider streams.
        validation: the public validation set.
        test: the test set, which only the server has.
        classes: the names of the classes.
        dataset_sha256: `Dataset.sha256` of the whole data set; None if `split` did not make this object.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]
    dataset_sha256: str | None = None


class MissingDataError(MidstreamError, FileNotFoundError):
    """A data set's files are missing; the message says which, where they should be, and how to get them."""
