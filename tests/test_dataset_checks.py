"""A data set of one's own that cannot be trained on is refused when it is loaded, in a sentence."""

from pathlib import Path

import pytest
import torch

from midstream.protocol.specification import Specification
from midstream.run.batches import load_split
from midstream.run.datasets import Dataset, Examples, Source, load
from midstream.run.datasets.dataset_checks import DatasetError, DifferentDatasetError

PLUGIN = """
import numpy as np
import torch
from midstream.run.datasets import Dataset, Examples


def data(source):
    x, y = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    z, t = x[:6].clone(), y[:6].clone()
    classes = ("cat", "dog")
    CHANGE
    return Dataset(Examples(x, y), Examples(z, t), classes)
"""


def plugin(folder: Path, change: str = "pass") -> str:
    """Return the name of a data set of 20 and 6 images, changed by a line of Python."""
    path = folder / "mine.py"
    path.write_text(PLUGIN.replace("CHANGE", change))
    return f"{path}:data"


WRONG = {
    "floats of 0 to 255": (
        "x = 255 * x",
        r"train: inputs range from 0\.\d+ to 25\d\.\d+, not within \[0, 1\]; divide them by 255, or return",
    ),
    "normalised": (
        "z = (z - 0.5) / 0.2",
        r"test: inputs range from -2\.\d+ to 2\.\d+, .*move the normalisation",
    ),
    "a NaN": (
        "x[3, 0, 1, 1] = float('nan'); x[5] = float('nan')",
        r"train: inputs hold a NaN in 2 of 20 examples, first in example 3",
    ),
    "an infinity": ("z[0] = float('inf')", r"test: inputs hold an infinity in 1 of 6 examples"),
    "doubles": ("x = x.double()", r"train: inputs are torch.float64; return uint8, or float32 in \[0, 1\]"),
    "int64 pixels": ("x = (255 * x).long()", r"train: inputs are torch.int64"),
    "arrays": (
        "x = x.numpy()",
        r"train: inputs are a numpy.ndarray, not a tensor; torch.from_numpy makes one",
    ),
    "names as labels": (
        "y = ['cat', 'dog'] * 10",
        r"train: labels are a list of str, such as 'cat', not a tensor; number the classes from 0",
    ),
    "float labels": ("t = t.float()", r"test: labels are torch.float32; return class indices as int64"),
    "int32 labels": ("y = y.int()", r"train: labels are torch.int32"),
    "labels from 1": (
        "y = y + 1",
        r"train: labels range from 1 to 2 \(example 1 has 2\), but it names 2 classes; number .* 0 to 1",
    ),
    "a negative label": ("t[4] = -1", r"test: labels range from -1 to 1 \(example 4 has -1\)"),
    "one label too few": ("y = y[1:]", r"train: labels have shape \(19,\) for 20 inputs; it must be \(20,\)"),
    "one-hot labels": ("y = torch.eye(2)[y].long()", r"train: labels have shape \(20, 2\) for 20 inputs"),
    "one class": ("classes, y, t = ('cat',), 0 * y, 0 * t", r"it names 1 class, \('cat',\); .* at least two"),
    "one class of two": ("y = 0 * y", r"train: all 20 labels are 0; training needs examples of at least two"),
    "no names": ("classes = 2", r"classes is 2, a int; give a tuple of names"),
    "a name of names": ("classes = 'ab'", r"classes is 'ab', a str; give a tuple of names"),
    "numbers as names": ("classes = (0, 1)", r"class name 0 is not a str"),
    "no test": ("z, t = z[:0], t[:0]", r"test: it has no examples"),
    "no training": ("x, y = x[:0], y[:0]", r"train: it has no examples"),
    "flat": ("x = x.flatten()[:20]", r"train: inputs have shape \(20,\); it must be \(examples, channels"),
    "an empty side": ("x = x[:, :, :0]", r"train: inputs have shape \(20, 1, 0, 4\)"),
    "another shape in the test": (
        "z = torch.rand(6, 1, 5, 5)",
        r"inputs have shape \(1, 4, 4\) in train and \(1, 5, 5\) in test",
    ),
    "a graph": ("x = x.requires_grad_()", r"requires_grad=True; return plain dense tensors on the CPU"),
    "elsewhere": ("x = x.to('meta')", r"train: inputs are on meta"),
    "a pair": ("return (x, y)", r"is a tuple; the function must return a midstream.run.datasets.Dataset"),
    "a part that is a pair": (
        "return Dataset((x, y), (z, t), classes)",
        r"train: it is a tuple; it must be",
    ),
    "an error of its own": (
        "{}['photos']",
        r"could not be loaded: KeyError\('photos'\) \(mine.py, line 11, in data\)",
    ),
}


@pytest.mark.parametrize("kind", list(WRONG))
def test_what_cannot_be_trained_on_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    change, sentence = WRONG[kind]
    name = plugin(tmp_path, change)
    with pytest.raises(DatasetError, match=sentence) as caught:
        load(name, Source())
    assert f"data set {name!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "pass",
        "x, z = (255 * x).byte(), (255 * z).byte()",
        "x = (255 * x).byte()",
        "x, z = x.flatten(1), z.flatten(1)",
        "classes = ['cat', 'dog', 'owl']",
        "t = 0 * t",
    ],
)
def test_what_can_be_trained_on_is_not(change: str, tmp_path: Path) -> None:
    assert len(load(plugin(tmp_path, change), Source()).train) == 20


def test_an_unbounded_pixel_range_takes_any_finite_numbers(tmp_path: Path) -> None:
    name = plugin(tmp_path, "x, z = 255 * x - 9, 255 * z")
    settings = {"dataset": name, "epsilon": 1.0, "validation_size": 5, "pixel_range": "unbounded"}
    assert len(load_split(Specification.model_validate(settings), Source()).train) == 15
    bounded = Specification.model_validate(settings | {"pixel_range": "valid"})
    with pytest.raises(DatasetError, match="--pixel-range unbounded"):
        load_split(bounded, Source())
    (tmp_path / "nan").mkdir()
    with pytest.raises(DatasetError, match="hold a NaN"):
        load(plugin(tmp_path / "nan", "x[0] = float('nan')"), Source(), pixel_range="unbounded")


def test_an_image_size_that_nobody_scales_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has inputs of shape \(1, 8, 8\), not of image size 32.*Remove"):
        load("digits", Source(image_size=32))
    assert load(plugin(tmp_path), Source(image_size=4)).train.inputs.shape == (20, 1, 4, 4)


def parts() -> tuple[Examples, Examples]:
    x = torch.arange(12 * 4).reshape(12, 1, 2, 2).byte()
    return Examples(x, torch.arange(12) % 2), Examples(x[:4] + 1, torch.arange(4) % 2)


def test_a_digest_is_of_all_that_a_data_set_is() -> None:
    train, test = parts()
    digest = Dataset(train, test, ("a", "b")).sha256()
    assert digest == Dataset(*parts(), ("a", "b")).sha256()
    pixel, label = train.inputs.clone(), train.labels.clone()
    pixel[11, 0, 1, 1] += 1
    label[0] = 1
    others = [
        Dataset(Examples(pixel, train.labels), test, ("a", "b")),
        Dataset(Examples(train.inputs, label), test, ("a", "b")),
        Dataset(train, Examples(pixel[:4], test.labels), ("a", "b")),
        Dataset(train, Examples(test.inputs, label[:4]), ("a", "b")),
        Dataset(test, train, ("a", "b")),
        Dataset(train, test, ("a", "c")),
        Dataset(train, test, ("b", "a")),
        Dataset(Examples(train.inputs.float() / 255, train.labels), test, ("a", "b")),
        Dataset(Examples(train.inputs.reshape(12, 1, 1, 4), train.labels), test, ("a", "b")),
    ]
    assert len({digest, *(other.sha256() for other in others)}) == 10


def test_a_digest_does_not_depend_on_how_a_run_splits() -> None:
    sizes = [{"train_size": 30, "seed": 0}, {"train_size": 90, "seed": 5, "validation_size": 17}]
    digests = {
        load_split(Specification.model_validate({"dataset": "digits"} | size), Source()).dataset_sha256
        for size in sizes
    }
    assert digests == {load("digits", Source()).sha256()}


def test_a_digest_stays_the_same_for_ever() -> None:
    assert load("digits", Source()).sha256().startswith("870fc2a9d49a660c90773f61a8af5d22af2632b8")


def test_another_data_set_than_the_runs_is_refused() -> None:
    run = Specification.model_validate({"dataset": "digits"})
    digest = load("digits", Source()).sha256()
    assert len(load_split(run, Source(), dataset_sha256=digest).train) == 1000
    sentence = (
        r"data set 'digits' of this process differs from the run's: its SHA-256 is 870fc2a9d49a…, the run's"
    )
    with pytest.raises(DifferentDatasetError, match=sentence):
        load_split(run, Source(), dataset_sha256="0" * 64)
