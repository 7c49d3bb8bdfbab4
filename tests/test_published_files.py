"""Data sets of others, on a disk where a file is damaged or missing."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from midstream.run.datasets import MissingDataError, Source, load
from midstream.run.datasets.dataset_checks import DatasetError

FILES = [
    f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
]


def idx(*shape: int) -> bytes:
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    return header + (np.arange(np.prod(shape)) % 2).astype(np.uint8).tobytes()


def write_mnist(root: Path, *, truncated: bool = False) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        content = idx(6, 28, 28) if "images" in name else idx(6)
        (raw / name).write_bytes(content[:-9] if truncated else content)
    return raw


@pytest.mark.parametrize("name", ["mnist", "mnist-1-vs-7"])
@pytest.mark.parametrize("truncated", [False, True])
def test_a_file_of_mnist_that_is_not_the_published_one_is_named(
    name: str, truncated: bool, tmp_path: Path
) -> None:
    raw = write_mnist(tmp_path, truncated=truncated)
    with pytest.raises(DatasetError, match=r"bytes and SHA-256 .*Delete it and add --download") as caught:
        load(name, Source(root=tmp_path))
    assert str(caught.value).startswith(f"{raw / FILES[0]} is damaged, or belongs to another data set: ")


def test_one_altered_byte_of_the_real_mnist_is_found(data_root: Path, tmp_path: Path) -> None:
    real = data_root / "MNIST" / "raw"
    if not real.is_dir():
        pytest.skip(f"{real} is not there")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).symlink_to(real / name)
    assert len(load("mnist", Source(root=tmp_path)).train) == 60_000
    labels = bytearray((real / FILES[3]).read_bytes())
    labels[500] ^= 1
    (raw / FILES[3]).unlink()
    (raw / FILES[3]).write_bytes(labels)
    with pytest.raises(DatasetError, match="t10k-labels-idx1-ubyte is damaged"):
        load("mnist", Source(root=tmp_path))


def test_a_cifar_that_lacks_a_file_is_not_said_to_be_absent(tmp_path: Path) -> None:
    where = tmp_path / "cifar-10-batches-py"
    where.mkdir()
    (where / "data_batch_2").write_bytes(b"half of it")
    with pytest.raises(DatasetError, match=r"data_batch_1 is missing, although 1 of 7 files are present"):
        load("cifar10", Source(root=tmp_path))
    (where / "data_batch_1").write_bytes(b"half of it")
    with pytest.raises(DatasetError, match=r"data_batch_1 is damaged: its MD5 is [0-9a-f]{32}, not c99cafc1"):
        load("cifar10", Source(root=tmp_path))
    with pytest.raises(MissingDataError, match="CIFAR-100 is not in"):
        load("cifar100", Source(root=tmp_path))


def test_a_damaged_file_of_debians_fashion_mnist_is_named(tmp_path: Path) -> None:
    where = tmp_path / "fashion-mnist"
    where.mkdir()
    path = where / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(4, 28, 28))[:-20])
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        load("fashion-mnist", Source(root=tmp_path))
    assert str(path) in str(caught.value)
