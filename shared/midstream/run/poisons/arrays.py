"""Perturbations as plain NumPy arrays: `.npz`, `.npy`, or a folder of `.npy` files."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from midstream.run.poisons.poison import PoisonError, check_values

_NAMES = ("perturbations", "perturbation", "delta", "noise", "arr_0")


@dataclass(frozen=True)
class Arrays:
    """Perturbations without a card.

    Attributes:
        perturbation: `(rows, *input)`, float32, in pixel units.
        index: place of each row's example in the data set's training data, `(rows,)`, int64. None: the rows
            are the whole training data, in the data set's order, or one row for each class.
        label: the labels that replace the examples' own, `(rows,)`, int64; None keeps theirs.
    """

    perturbation: Tensor
    index: Tensor | None
    label: Tensor | None


def read_arrays(path: Path, *, scale: float = 1.0) -> Arrays:
    """Read perturbations from NumPy files. Pickled objects are never loaded.

    A `.npz` holds them as `perturbations`, `perturbation`, `delta`, `noise` or its only array, and may hold
    `index` and `label`. A `.npy` holds them alone. The files of a folder hold one each and are named by the
    example's place in the data set, as `17.npy`.

    Args:
        path: the file or folder.
        scale: factor of each value.

    Raises:
        PoisonError: the path cannot be read, or does not hold such arrays.
    """
    if path.is_dir():
        arrays = _folder(path)
    elif path.suffix == ".npz":
        arrays = _archive(path)
    else:
        arrays = {"perturbation": _loaded(path)}
    values = arrays["perturbation"]
    if values.dtype.kind not in "fiu":
        raise PoisonError(f"the perturbations of {path} are {values.dtype}, which are not real numbers")
    rows = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)) * scale
    check_values(rows, path)
    return Arrays(rows, *(_whole_numbers(arrays, name, len(rows), path) for name in ("index", "label")))


def _loaded(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise PoisonError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError, EOFError) as error:
        raise PoisonError(f"{path} is not a .npy file of numbers, which needs no pickle: {error}") from error
    if not isinstance(found, np.ndarray):
        raise PoisonError(f"{path} is a NumPy archive; name it .npz")
    return found


def _archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise PoisonError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise PoisonError(f"{path} is not a .npz of numbers, which needs no pickle: {error}") from error
    named = [name for name in _NAMES if name in found]
    others = [name for name in found if name not in ("index", "label")]
    if not named and len(others) != 1:
        raise PoisonError(
            f"{path} holds the arrays {', '.join(found) or 'none'}; name the one to play 'perturbations'"
        )
    return {**found, "perturbation": found[(named or others)[0]]}


def _folder(path: Path) -> dict[str, np.ndarray]:
    numbers = dict(sorted(_numbered(path)))
    if not numbers:
        raise PoisonError(f"{path} has no .npy files that are named by a number, as 17.npy")
    rows = [_loaded(file) for file in numbers.values()]
    shapes = sorted({row.shape for row in rows})
    if len(shapes) > 1:
        raise PoisonError(f"the files of {path} have different shapes, {shapes[0]} and {shapes[1]}")
    return {"perturbation": np.stack(rows), "index": np.array(list(numbers), dtype=np.int64)}


def _numbered(path: Path) -> Iterator[tuple[int, Path]]:
    for file in path.glob("*.npy"):
        if not file.stem.isdecimal():
            raise PoisonError(f"{file} is not named by its example's place in the data set, as 17.npy")
        yield int(file.stem), file


def _whole_numbers(
    arrays: Mapping[str, np.ndarray],
    name: str,
    rows: int,
    path: Path,
) -> Tensor | None:
    if name not in arrays:
        return None
    found = arrays[name]
    if found.dtype.kind not in "iu" or found.shape != (rows,) or (found < 0).any():
        raise PoisonError(
            f"{name!r} of {path} is {found.dtype} of shape {found.shape}; it must hold {rows} whole numbers "
            f"of at least 0"
        )
    return torch.from_numpy(found.astype(np.int64))
