"""Data sets by name, and their split into what is streamed, what is public and what is held back.

A data set is loaded by a function `(source: Source) -> Dataset`; any function of that form can be named as
`package.module:function`. Whatever is loaded is checked once, see `midstream.run.dataset_checks`.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from midstream import plugins
from midstream.errors import MidstreamError
from midstream.mathematics.budget import PixelRange
from midstream.mathematics.pixels import pixels
from midstream.mathematics.seeds import permutation
from midstream.players.culprit import place
from midstream.protocol.wire import tensors_sha256
from midstream.run.dataset_checks import DatasetError, check_dataset
from midstream.run.image_files import class_names, files_by_class, read_images
from midstream.run.published_files import check_mnist, damaged_cifar, read_gzip


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        root: a torchvision root, or None where the user named none.
        download: whether absent data may be fetched from its authors.
        image_size: side length that a folder's images are scaled and cropped to.
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
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: Tensor) -> "Examples":
        return Examples(self.inputs[which], self.labels[which])

    def pixels(self) -> Tensor:
        """Return the inputs as float32 in [0, 1]."""
        return pixels(self.inputs)


@dataclass(frozen=True)
class Dataset:
    """A data set: what may be trained on, what is held back for the test, and the names of its classes."""

    train: Examples
    test: Examples
    classes: tuple[str, ...]

    def sha256(self) -> str:
        """Return a SHA-256 over inputs and labels as stored and the names of the classes.

        It is `midstream.protocol.wire.tensors_sha256` of `train.inputs`, `train.labels`, `test.inputs`,
        `test.labels` and `classes`, the names as the bytes of a JSON array. It does not depend on how a run
        splits the data, so every process of a run has the same one, whatever part it uses.
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
    """A data set as one run uses it: the streamed, the public and the secret part.

    Attributes:
        train: what is streamed.
        validation: what is public.
        test: what is secret.
        classes: the names of the classes.
        dataset_sha256: digest of the whole data set, see `Dataset.sha256`; None if `split` did not make this.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]
    dataset_sha256: str | None = None


class MissingDataError(MidstreamError, FileNotFoundError):
    """A data set that is not there: what is missing, where it was looked for, and how to get it."""


def load(
    name: str,
    source: Source,
    *,
    allowed: Collection[str] | None = None,
    pixel_range: PixelRange = "valid",
) -> Dataset:
    """Return a data set by name, such as `mnist`, `folder:PATH` or `package.module:function`, checked.

    Args:
        name: an installed name, `folder:PATH`, or a dotted path.
        source: where to look, and whether to download.
        allowed: the paths that may be opened, where the name came over a network; None allows all.
        pixel_range: whether float32 inputs must lie in [0, 1], or may be any finite number.

    Raises:
        MissingDataError: the data are not where they were looked for.
        midstream.run.dataset_checks.DatasetError: a file is damaged, the function failed, or what it returned
            cannot be trained on.
        midstream.plugins.PluginError: there is no such data set, or it is not allowed.
    """
    dataset = _load(name, source, allowed)
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"data set {name!r} is a {type(dataset).__name__}; the function must return a "
            f"midstream.run.datasets.Dataset"
        )
    check_dataset(
        name,
        {"train": dataset.train, "test": dataset.test},
        dataset.classes,
        image_size=source.image_size,
        pixel_range=pixel_range,
    )
    return dataset


def _load(name: str, source: Source, allowed: Collection[str] | None) -> object:
    if name.startswith("folder:"):
        if allowed is not None and name not in allowed:
            raise plugins.PluginError(
                f"{name!r} is a folder that this process was not told to read; start it with --allow {name}"
            )
        return folder(Path(name.removeprefix("folder:")), source)
    function = plugins.find("datasets", name, allowed=allowed)
    try:
        return function(source)
    except (DatasetError, MissingDataError):
        raise
    except Exception as error:
        raise DatasetError(f"data set {name!r} could not be loaded: {error!r}{place(error)}") from error


def split(dataset: Dataset, *, validation_size: int, train_size: int | None, seed: int) -> Split:
    """Hold a validation set out of the training data, at random by seed (paper section 6).

    The first `validation_size` examples of a random order are public, the next `train_size` (None: all
    that are left) are streamed. The test set stays whole.

    Raises:
        ValueError: the data set has fewer training examples than asked for.
    """
    available = len(dataset.train)
    wanted = validation_size + (train_size or 1)
    if wanted > available:
        raise ValueError(
            f"validation_size {validation_size} and train_size {train_size or 'at least 1'} need {wanted} "
            f"training examples; the data set has {available}"
        )
    order = torch.from_numpy(permutation(available, seed, "split"))
    end = available if train_size is None else validation_size + train_size
    return Split(
        train=dataset.train[order[validation_size:end]],
        validation=dataset.train[order[:validation_size]],
        test=dataset.test,
        classes=dataset.classes,
        dataset_sha256=dataset.sha256(),
    )


def digits(source: Source) -> Dataset:  # noqa: ARG001
    """Return scikit-learn's 1,797 digits of 8×8 pixels, 1,400 to train on and 397 for the test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = permutation(len(bunch.target), 0, "digits")
    inputs = torch.from_numpy((bunch.images[order, None] / 16).astype(np.float32))
    labels = torch.from_numpy(bunch.target[order].astype(np.int64))
    return Dataset(
        Examples(inputs[:1400], labels[:1400]), Examples(inputs[1400:], labels[1400:]), _digit_names()
    )


def mnist(source: Source) -> Dataset:
    """Return MNIST, 60,000 and 10,000 digits of 28×28 pixels, by torchvision."""
    from torchvision.datasets import MNIST

    check_mnist(_root(source))
    return _torchvision(MNIST, source, "MNIST", "MNIST/raw/train-images-idx3-ubyte")


def mnist_1_vs_7(source: Source) -> Dataset:
    """Return the ones and the sevens of MNIST, 13,007 and 2,163 images, as two classes (paper 6.2)."""
    return _only(mnist(source), (1, 7))


def fashion_mnist(source: Source) -> Dataset:
    """Return Fashion-MNIST, 60,000 and 10,000 garments of 28×28 pixels.

    Read by torchvision, or from the compressed files that Debian's package dataset-fashion-mnist puts
    under /usr/share/datasets.
    """
    from torchvision.datasets import FashionMNIST

    debian = (source.root or Path("/usr/share/datasets")) / "fashion-mnist"
    if (debian / "train-images-idx3-ubyte.gz").is_file():
        return Dataset(_idx(debian, "train"), _idx(debian, "t10k"), tuple(FashionMNIST.classes))
    return _torchvision(FashionMNIST, source, "Fashion-MNIST", "FashionMNIST/raw/train-images-idx3-ubyte")


def cifar10(source: Source) -> Dataset:
    """Return CIFAR-10, 50,000 and 10,000 colour images of 32×32 pixels, by torchvision."""
    from torchvision.datasets import CIFAR10

    return _torchvision(CIFAR10, source, "CIFAR-10", "cifar-10-batches-py/data_batch_1")


def cifar100(source: Source) -> Dataset:
    """Return CIFAR-100, 50,000 and 10,000 colour images of 32×32 pixels, by torchvision."""
    from torchvision.datasets import CIFAR100

    return _torchvision(CIFAR100, source, "CIFAR-100", "cifar-100-python/train")


def folder(path: Path, source: Source) -> Dataset:
    """Return the images below `path`, one folder a class, in RGB, turned upright as their EXIF data says.

    With folders `train` and `test` below `path`, each holds the class folders; otherwise a random fifth of
    the images, the same for ever, is the test set. Inputs are uint8, or float32 if an image has 16-bit
    pixels.

    Raises:
        MissingDataError: there are no such folders.
        midstream.run.dataset_checks.DatasetError: an image cannot be read, or the images differ in size and
            `source.image_size` does not say which to scale to.
    """
    path = path.expanduser()
    parts = [path / "train", path / "test"] if (path / "train").is_dir() else [path]
    try:
        classes = [class_names(part) for part in parts]
        files = [files_by_class(part, names) for part, names in zip(parts, classes, strict=True)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingDataError(
            f"no images by class in {path.absolute()}: expected {path}/CLASS/IMAGE.png, or "
            f"{path}/train/CLASS/IMAGE.png and {path}/test/CLASS/IMAGE.png ({str(error).strip()})"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    names = classes[0]
    if classes[-1] != names:
        raise DatasetError(f"{path}/train and {path}/test hold different classes: {names} and {classes[-1]}")
    # Read as one list: all images then have one size and one type.
    inputs = read_images([file for part in files for file, _ in part], source.image_size)
    examples = Examples(inputs, torch.tensor([label for part in files for _, label in part]))
    if len(parts) == 2:
        every = torch.arange(len(examples))
        return Dataset(examples[every[: len(files[0])]], examples[every[len(files[0]) :]], names)
    order = torch.from_numpy(permutation(len(examples), 0, "folder"))
    held_back = max(1, len(order) // 5)
    return Dataset(examples[order[held_back:]], examples[order[:held_back]], names)


def _only(dataset: Dataset, classes: tuple[int, ...]) -> Dataset:
    """Return the examples of some classes, which are counted from 0 again, in the order given."""
    kept = torch.tensor(classes)

    def of(examples: Examples) -> Examples:
        found = examples[torch.isin(examples.labels, kept)]
        return Examples(found.inputs, (found.labels[:, None] == kept).long().argmax(1))

    return Dataset(of(dataset.train), of(dataset.test), tuple(dataset.classes[label] for label in classes))


def _root(source: Source) -> Path:
    return source.root or Path.home() / ".cache" / "midstream"


def _torchvision(cls: Callable[..., Any], source: Source, name: str, first_file: str) -> Dataset:
    if source.root is None and not source.download:
        raise MissingDataError(
            f"{name} needs a place on disk: name a torchvision root that holds it with --data-root DIR, or "
            f"add --download to fetch it into ~/.cache/midstream"
        )
    root = _root(source)
    try:
        train, test = (cls(str(root), train=train, download=source.download) for train in (True, False))
    except RuntimeError as error:
        if damaged := damaged_cifar(cls, root):
            raise DatasetError(damaged) from error
        raise MissingDataError(
            f"{name} is not in {root.absolute()} (looked for {root.absolute() / first_file}). Either name "
            f"the torchvision root that holds it with --data-root DIR, or add --download to fetch it there."
        ) from error
    return Dataset(_stored(train), _stored(test), tuple(train.classes))


def _stored(part: Any) -> Examples:
    data = torch.as_tensor(part.data)
    inputs = data[:, None] if data.dim() == 3 else data.permute(0, 3, 1, 2)
    return Examples(inputs.contiguous(), torch.as_tensor(part.targets, dtype=torch.int64))


def _idx(where: Path, part: str) -> Examples:
    images = read_gzip(where / f"{part}-images-idx3-ubyte.gz")
    labels = read_gzip(where / f"{part}-labels-idx1-ubyte.gz")
    inputs = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28).copy()
    return Examples(
        torch.from_numpy(inputs), torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))
    )


def _digit_names() -> tuple[str, ...]:
    return tuple(str(digit) for digit in range(10))
