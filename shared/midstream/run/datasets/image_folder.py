"""Folders of images as a data set, `folder:PATH`: one folder per class."""

from pathlib import Path

import torch

from midstream.mathematics.seeds import permutation
from midstream.run.datasets.dataset_checks import DatasetError
from midstream.run.datasets.examples import Dataset, Examples, MissingDataError, Source
from midstream.run.datasets.image_files import class_names, files_by_class, read_images


def folder(path: Path, source: Source) -> Dataset:
    """Return the images below `path`, one folder per class, in RGB and rotated as their EXIF data says.

    If `path` holds the folders `train` and `test`, each of them holds the class folders. Otherwise a random
    fifth of the images is the test set, the same fifth in every process. Inputs are uint8, or float32 if an
    image has 16-bit pixels.

    Raises:
        MissingDataError: there are no such folders.
        midstream.run.datasets.dataset_checks.DatasetError: an image cannot be read, or the images differ in
            size and `source.image_size` is None.
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
    # One call for both parts, so that all images get the same size and type.
    inputs = read_images([file for part in files for file, _ in part], source.image_size)
    examples = Examples(inputs, torch.tensor([label for part in files for _, label in part]))
    if len(parts) == 2:
        every = torch.arange(len(examples))
        return Dataset(examples[every[: len(files[0])]], examples[every[len(files[0]) :]], names)
    order = torch.from_numpy(permutation(len(examples), 0, "folder"))
    held_back = max(1, len(order) // 5)
    return Dataset(examples[order[held_back:]], examples[order[:held_back]], names)
