"""Files of published data sets, held against the checksums of their authors."""

import gzip
import zlib
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from midstream.run.dataset_checks import DatasetError

_MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the files as torchvision unpacks them."""


def check_mnist(root: Path) -> None:
    """Refuse a file of MNIST that is damaged; torchvision checks them only while it downloads.

    A file that is not there is torchvision's to miss.

    Raises:
        DatasetError: a file is not the published one.
    """
    for name, wanted in _MNIST.items():
        path = root / "MNIST" / "raw" / name
        if path.is_file():
            content = path.read_bytes()
            if (found := sha256(content).hexdigest()) != wanted:
                raise DatasetError(
                    f"{path} is damaged, or another data set's: {len(content)} bytes of SHA-256 "
                    f"{found[:12]}…, MNIST's is {wanted[:12]}…. Delete it and add --download, or load data "
                    f"of your own by a function"
                )


def damaged_cifar(cls: Any, root: Path) -> str | None:
    """Return what is wrong with a CIFAR that is there in part; None if none of its files is there.

    Args:
        cls: torchvision's `CIFAR10` or `CIFAR100`, which know their files; another class gives None.
        root: the torchvision root.
    """
    if not hasattr(cls, "train_list"):
        return None
    checksums = [*cls.train_list, *cls.test_list, [cls.meta["filename"], cls.meta["md5"]]]
    paths = {root / cls.base_folder / name: wanted for name, wanted in checksums}
    present = {path for path in paths if path.is_file()}
    if not present:
        return None
    mend = "Delete the folder and add --download, or copy it anew"
    for path, wanted in paths.items():
        if path not in present:
            return f"{path} is missing, though {len(present)} of its {len(paths)} files are there. {mend}"
        if (found := md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != wanted:
            return f"{path} is damaged: its MD5 is {found}, not {wanted}. {mend}"
    return None


def read_gzip(path: Path) -> bytes:
    """Return what a compressed file holds.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Install it anew") from error
