"""A data set by its name, checked; and its split into training, validation and test examples."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from midstream import plugins
from midstream.mathematics.budget import PixelRange
from midstream.mathematics.seeds import permutation
from midstream.players.culprit import place
from midstream.run.datasets.dataset_checks import DatasetError, check_dataset
from midstream.run.datasets.examples import Dataset, MissingDataError, Source, Split
from midstream.run.datasets.image_folder import folder


def load(
    name: str,
    source: Source,
    *,
    allowed: Collection[str] | None = None,
    pixel_range: PixelRange = "valid",
) -> Dataset:
    """Return a data set by name, checked by `midstream.run.datasets.dataset_checks`.

    Args:
        name: an installed name such as `mnist`, `folder:PATH`, or `package.module:function`.
        source: where to look, and whether to download.
        allowed: the paths that may be opened if the name came over a network; None allows all.
        pixel_range: whether float32 inputs must lie in [0, 1] or may be any finite number.

    Raises:
        MissingDataError: the data are not at the source.
        midstream.run.datasets.dataset_checks.DatasetError: a file is damaged, the function failed, or its
            result cannot be trained on.
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
    """Hold a validation set out of the training data, at random (paper section 6).

    The training data are permuted by the seed. The first `validation_size` examples become the public
    validation set; the next `train_size` (None: all others) are streamed. The test set is not split.

    Raises:
        ValueError: the data set has fewer than `validation_size + train_size` training examples.
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
    numbered = replace(dataset.train, index=torch.arange(available))
    return Split(
        train=numbered[order[validation_size:end]],
        validation=numbered[order[:validation_size]],
        test=dataset.test,
        classes=dataset.classes,
        dataset_sha256=dataset.sha256(),
    )
