"""Data sets by name, and their split into training, validation and test examples.

A function `(source: Source) -> Dataset` loads a data set. Any function of that form can be named, as
`package.module:function`.

- `examples`: the types.
- `loading`: a data set by its name, checked; and its split.
- `published`: the data sets with a name of their own.
- `image_folder`: `folder:PATH`, one folder of images per class.
"""

from midstream.run.datasets.examples import Dataset, Examples, MissingDataError, Source, Split
from midstream.run.datasets.image_folder import folder
from midstream.run.datasets.loading import load, split
from midstream.run.datasets.published import cifar10, cifar100, digits, fashion_mnist, mnist, mnist_1_vs_7

__all__ = [
    "Dataset",
    "Examples",
    "MissingDataError",
    "Source",
    "Split",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "folder",
    "load",
    "mnist",
    "mnist_1_vs_7",
    "split",
]
