"""Data sets by name, what is said where one is missing, and how a run splits one."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from midstream.plugins import PluginError
from midstream.run.datasets import Dataset, Examples, MissingDataError, Source, load, split

NOWHERE = Source()


def rows(inputs: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in inputs}


def numbered(count: int) -> Dataset:
    """Return a data set whose every input is another number."""
    examples = Examples(torch.arange(count).reshape(-1, 1, 1, 1).float(), torch.arange(count) % 3)
    return Dataset(examples, examples[torch.arange(2)], ("a", "b", "c"))


def test_digits_are_1400_and_397_images_of_8_by_8() -> None:
    digits = load("digits", NOWHERE)
    assert digits.train.inputs.shape == (1400, 1, 8, 8)
    assert digits.test.inputs.shape == (397, 1, 8, 8)
    assert digits.train.inputs.dtype == torch.float32
    assert [digits.train.inputs.min().item(), digits.train.inputs.max().item()] == [0, 1]
    assert digits.train.labels.dtype == torch.int64
    assert sorted(set(digits.test.labels.tolist())) == list(range(10))
    assert digits.classes == tuple("0123456789")
    assert not rows(digits.train.inputs) & rows(digits.test.inputs)


def test_digits_are_in_the_same_order_for_ever() -> None:
    assert load("digits", NOWHERE).train.labels[:12].tolist() == [6, 6, 9, 7, 9, 5, 4, 7, 0, 4, 8, 5]


def test_a_split_is_disjoint_and_complete() -> None:
    parts = split(numbered(30), validation_size=10, train_size=None, seed=0)
    validation, train = (part.inputs.flatten().tolist() for part in (parts.validation, parts.train))
    assert len(validation) == 10
    assert sorted(validation + train) == list(range(30))
    assert parts.test.inputs.flatten().tolist() == [0, 1]
    assert parts.classes == ("a", "b", "c")
    assert parts.train.labels.tolist() == [value % 3 for value in train]


def test_a_split_follows_its_seed_alone() -> None:
    first, again, other = (split(numbered(30), validation_size=10, train_size=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.validation.inputs, again.validation.inputs)
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert not torch.equal(first.validation.inputs, other.validation.inputs)


def test_a_split_is_the_same_for_ever() -> None:
    parts = split(numbered(30), validation_size=5, train_size=3, seed=0)
    assert parts.validation.inputs.flatten().tolist() == [11, 21, 3, 2, 16]
    assert parts.train.inputs.flatten().tolist() == [12, 22, 17]


def test_a_larger_training_set_holds_the_smaller_one() -> None:
    small, large = (split(numbered(30), validation_size=4, train_size=n, seed=3) for n in (5, 20))
    assert torch.equal(small.validation.inputs, large.validation.inputs)
    assert torch.equal(small.train.inputs, large.train.inputs[:5])
    assert len(large.train) == 20


def test_a_data_set_may_be_used_to_the_last_example() -> None:
    assert len(split(numbered(30), validation_size=10, train_size=20, seed=0).train) == 20
    assert len(split(numbered(30), validation_size=29, train_size=None, seed=0).train) == 1


@pytest.mark.parametrize(("validation", "train", "needed"), [(10, 21, 31), (30, None, 31)])
def test_more_examples_than_there_are(validation: int, train: int | None, needed: int) -> None:
    with pytest.raises(ValueError, match=f"need {needed} training examples; the data set has 30"):
        split(numbered(30), validation_size=validation, train_size=train, seed=0)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_a_missing_data_set_says_both_ways_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"--data-root DIR, or add --download"):
        load(name, NOWHERE)
    with pytest.raises(MissingDataError) as caught:
        load(name, Source(root=tmp_path / "here"))
    message = str(caught.value)
    assert f"is not in {tmp_path}/here (looked for {tmp_path}/here/" in message
    assert "--data-root DIR" in message
    assert "--download" in message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_mnist_names_the_file() -> None:
    with pytest.raises(MissingDataError, match="/absent/MNIST/raw/train-images-idx3-ubyte"):
        load("mnist", Source(root=Path("/absent")))


def idx(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return gzip.compress(header + values.tobytes())


def test_fashion_mnist_is_read_from_the_files_of_debian(tmp_path: Path) -> None:
    where = tmp_path / "fashion-mnist"
    where.mkdir()
    images = np.arange(5 * 28 * 28, dtype=np.int64).astype(np.uint8).reshape(5, 28, 28)
    labels = np.array([9, 2, 1, 0, 9], dtype=np.uint8)
    for part, count in (("train", 5), ("t10k", 2)):
        (where / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images[:count]))
        (where / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels[:count]))
    dataset = load("fashion-mnist", Source(root=tmp_path))
    assert np.array_equal(dataset.train.inputs.numpy(), images[:, None])
    assert dataset.train.labels.tolist() == [9, 2, 1, 0, 9]
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.test.inputs.shape == (2, 1, 28, 28)
    assert dataset.classes[9] == "Ankle boot"
    assert dataset.train.pixels().max() == 1


def test_a_data_set_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from midstream.run.datasets import digits\n"
        "def tiny(source):\n    assert source.root.name == 'here'\n    return digits(source)\n"
    )
    source = Source(root=Path("here"))
    assert load(f"{path}:tiny", source).sha256() == load("digits", source).sha256()
    with pytest.raises(PluginError, match="was not told to load"):
        load(f"{path}:tiny", source, allowed=[])


@pytest.mark.parametrize(
    ("name", "shape", "train_size", "first_labels"),
    [
        ("mnist", (1, 28, 28), 60_000, [5, 0, 4, 1, 9]),
        pytest.param("cifar10", (3, 32, 32), 50_000, [6, 9, 9, 4, 1], marks=pytest.mark.slow),
    ],
)
def test_the_real_data(
    data_root: Path, name: str, shape: tuple[int, ...], train_size: int, first_labels: list[int]
) -> None:
    try:
        dataset = load(name, Source(root=data_root))
    except MissingDataError as error:
        pytest.skip(str(error))
    assert dataset.train.inputs.shape == (train_size, *shape)
    assert dataset.test.inputs.shape == (10_000, *shape)
    assert dataset.train.inputs.dtype == torch.uint8
    assert dataset.train.inputs.is_contiguous()
    assert dataset.train.labels[:5].tolist() == first_labels
    assert len(dataset.classes) == 10


def test_the_ones_and_sevens_of_mnist(data_root: Path) -> None:
    source = Source(root=data_root)
    try:
        whole, two = load("mnist", source), load("mnist-1-vs-7", source)
    except MissingDataError as error:
        pytest.skip(str(error))
    assert [len(two.train), len(two.test)] == [13_007, 2_163]
    assert two.classes == (whole.classes[1], whole.classes[7])
    for found, given in ((two.train, whole.train), (two.test, whole.test)):
        for label, digit in ((0, 1), (1, 7)):
            assert torch.equal(found.inputs[found.labels == label], given.inputs[given.labels == digit])


def test_classes_that_are_kept_are_counted_from_0(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([7, 0, 1, 1, 7, 9])
    examples = Examples(torch.arange(6).reshape(6, 1, 1, 1).byte(), labels)
    whole = Dataset(examples, examples[torch.tensor([3])], tuple("0123456789"))
    monkeypatch.setattr("midstream.run.datasets.published.mnist", lambda source: whole)  # noqa: ARG005
    two = load("mnist-1-vs-7", NOWHERE)
    assert two.train.inputs.flatten().tolist() == [0, 2, 3, 4]
    assert two.train.labels.tolist() == [1, 0, 0, 1]
    assert two.test.labels.tolist() == [0]
    assert two.classes == ("1", "7")
