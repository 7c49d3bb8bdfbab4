"""Verify files of published data sets against their official checksums."""

import gzip
import zlib
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from midstream.run.datasets.dataset_checks import DatasetError

_MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the files after torchvision has unpacked them."""


def check_mnist(root: Path) -> None:
    """Refuse damaged files of MNIST, which torchvision checks only during the download.

    Missing files are not reported here; torchvision reports them.

    Raises:
        DatasetError: a file differs from the published one.
    """
    for name, wanted in _MNIST.items():
        path = root / "MNIST" / "raw" / name
        if path.is_file():
            content = path.read_bytes()
            if (found := sha256(content).hexdigest()) != wanted:
                raise DatasetError(
                    f"{path} is damaged, or belongs to another data set: it has {len(content)} bytes and "
                    f"SHA-256 {found[:12]}…, but MNIST's is {wanted[:12]}…. Delete it and add --download, "
                    f"or load your own data by a function"
                )


def damaged_cifar(cls: Any, root: Path) -> str | None:
    """Return what is wrong with the files of CIFAR; None if all are valid or none is present.

    Args:
        cls: torchvision's `CIFAR10` or `CIFAR100`, which list their files; other classes give None.
        root: torchvision's data root.
    """
    if not hasattr(cls, "train_list"):
        return None
    checksums = [*cls.train_list, *cls.test_list, [cls.meta["filename"], cls.meta["md5"]]]
    paths = {root / cls.base_folder / name: wanted for name, wanted in checksums}
    present = {path for path in paths if path.is_file()}
    if not present:
        return None
    mend = "Delete the folder and add --download, or copy it again"
    for path, wanted in paths.items():
        if path not in present:
            return f"{path} is missing, although {len(present)} of {len(paths)} files are present. {mend}"
        if (found := md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != wanted:
            return f"{path} is damaged: its MD5 is {found}, not {wanted}. {mend}"
    return None


def read_gzip(path: Path) -> bytes:
    """Return the content of a gzip file.

    Raises:
        DatasetError: the file is damaged.
    """
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Install it again") from error
