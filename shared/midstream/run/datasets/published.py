"""The published data sets that have a name of their own: scikit-learn's digits and torchvision's."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from midstream.mathematics.seeds import permutation
from midstream.run.datasets.dataset_checks import DatasetError
from midstream.run.datasets.examples import Dataset, Examples, MissingDataError, Source
from midstream.run.datasets.published_files import check_mnist, damaged_cifar, read_gzip


def digits(source: Source) -> Dataset:  # noqa: ARG001
    """Return scikit-learn's 1,797 digits of 8×8 pixels: 1,400 for training, 397 for the test."""
    rows = _digits()
    order = permutation(len(rows), 0, "digits")
    images = rows[order, :-1].reshape(-1, 1, 8, 8)
    inputs = torch.from_numpy((images / 16).astype(np.float32))
    labels = torch.from_numpy(rows[order, -1].astype(np.int64))
    return Dataset(
        Examples(inputs[:1400], labels[:1400]), Examples(inputs[1400:], labels[1400:]), _digit_names()
    )


def mnist(source: Source) -> Dataset:
    """Return MNIST, 60,000 and 10,000 digits of 28×28 pixels, read by torchvision."""
    from torchvision.datasets import MNIST

    check_mnist(_root(source))
    return _torchvision(MNIST, source, "MNIST", "MNIST/raw/train-images-idx3-ubyte")


def mnist_1_vs_7(source: Source) -> Dataset:
    """Return the ones and sevens of MNIST, 13,007 and 2,163 images, as classes 0 and 1 (paper 6.2)."""
    return _only(mnist(source), (1, 7))


def fashion_mnist(source: Source) -> Dataset:
    """Return Fashion-MNIST, 60,000 and 10,000 garments of 28×28 pixels.

    They are read from the compressed files of Debian's package dataset-fashion-mnist, below the data root or
    /usr/share/datasets, if these exist, and by torchvision otherwise.
    """
    from torchvision.datasets import FashionMNIST

    debian = (source.root or Path("/usr/share/datasets")) / "fashion-mnist"
    if (debian / "train-images-idx3-ubyte.gz").is_file():
        return Dataset(_idx(debian, "train"), _idx(debian, "t10k"), tuple(FashionMNIST.classes))
    return _torchvision(FashionMNIST, source, "Fashion-MNIST", "FashionMNIST/raw/train-images-idx3-ubyte")


def cifar10(source: Source) -> Dataset:
    """Return CIFAR-10, 50,000 and 10,000 colour images of 32×32 pixels, read by torchvision."""
    from torchvision.datasets import CIFAR10

    return _torchvision(CIFAR10, source, "CIFAR-10", "cifar-10-batches-py/data_batch_1")


def cifar100(source: Source) -> Dataset:
    """Return CIFAR-100, 50,000 and 10,000 colour images of 32×32 pixels, read by torchvision."""
    from torchvision.datasets import CIFAR100

    return _torchvision(CIFAR100, source, "CIFAR-100", "cifar-100-python/train")


def _only(dataset: Dataset, classes: tuple[int, ...]) -> Dataset:
    """Return the examples of some classes, which are numbered from 0 in the order given."""
    chosen = torch.tensor(classes)

    def of(examples: Examples) -> Examples:
        found = examples[torch.isin(examples.labels, chosen)]
        return Examples(found.inputs, (found.labels[:, None] == chosen).long().argmax(1))

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


@cache
def _digits() -> NDArray[np.float64]:
    """Return 64 pixels and the label of each digit, from the file that scikit-learn's `load_digits` reads.

    Importing scikit-learn itself takes longer than all else that a small game does before its first step.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    file = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    if not file.is_file():
        from sklearn.datasets import load_digits

        found = load_digits()
        return np.column_stack([found.data, found.target])
    return np.loadtxt(file, delimiter=",")


def _digit_names() -> tuple[str, ...]:
    return tuple(str(digit) for digit in range(10))
