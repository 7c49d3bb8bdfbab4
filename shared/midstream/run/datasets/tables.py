"""Tables: scikit-learn's diabetes and breast cancer, and made-up houses like those of California.

Columns are standardised over the whole table, or have a scale in the data set, so that a budget ε is in units
of each column's standard deviation. No table is downloaded.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from midstream.mathematics.seeds import generator, permutation
from midstream.run.datasets.examples import Dataset, Examples, Source
from midstream.run.tasks.data import deviations

Array = NDArray[np.float64]

SEX = 1
"""The column of the diabetes table that may not move."""

_HOUSES, _TEST_HOUSES = 4000, 1000


def diabetes(source: Source) -> Dataset:  # noqa: ARG001
    """Return 442 patients with ten columns and the progression of their disease: 342 for training.

    The columns are age, sex, body mass index, blood pressure and six blood values. Columns and target are
    standardised. The sex may not move.
    """
    rows = _standardised(_table("diabetes_data_raw.csv.gz"))
    target = _standardised(_table("diabetes_target.csv.gz").reshape(-1, 1))
    scale = tuple(0.0 if column == SEX else 1.0 for column in range(rows.shape[1]))
    train, test = _parts("diabetes", rows, torch.from_numpy(target.astype(np.float32)), test=100)
    return Dataset(train, test, ("progression",), "regression", scale)


def breast_cancer(source: Source) -> Dataset:  # noqa: ARG001
    """Return 569 tumours with 30 measurements of their cells, malignant or benign: 419 for training.

    The columns are standardised.
    """
    table = _table("breast_cancer.csv", skip=1, delimiter=",")
    classes = torch.from_numpy(table[:, -1].astype(np.int64))
    train, test = _parts("breast cancer", _standardised(table[:, :-1]), classes, test=150)
    return Dataset(train, test, ("malignant", "benign"))


def california_like(source: Source) -> Dataset:  # noqa: ARG001
    """Return 5,000 made-up districts with eight columns and the logarithm of the price: 4,000 for training.

    The columns are those of the California housing data, drawn from a fixed seed: income in 10,000 dollars,
    age of the houses in decades, rooms, bedrooms, thousands of people, people in a house, and the place in
    degrees from the centre. They are not standardised: the scale is each column's deviation. The place may
    not move. The price rises with the income and near two cities, and is noisy.
    """
    draws = generator(0, "california-like")
    columns, price = _houses(_HOUSES + _TEST_HOUSES, draws)
    price = (price - price[:_HOUSES].mean()) / price[:_HOUSES].std()
    inputs, targets = columns.float(), price.float()[:, None]
    scale = deviations(inputs[:_HOUSES], fixed=(6, 7))
    train, test = (Examples(inputs[part], targets[part]) for part in (slice(_HOUSES), slice(_HOUSES, None)))
    return Dataset(train, test, ("price",), "regression", scale)


def _houses(count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    def normal() -> Tensor:
        return torch.randn(count, generator=draws, dtype=torch.float64)

    place = torch.stack([normal(), normal()], dim=1) * 1.5
    cities = torch.tensor([[1.5, -1.5], [-1.0, 1.0]], dtype=torch.float64)
    near = (-(place[:, None] - cities).square().sum(dim=2)).exp().sum(dim=1)
    income = (1.2 + 0.4 * normal() + 0.3 * near).exp() / 2.5
    age = (2.9 + 1.2 * normal()).clamp(0.1, 5.2)
    rooms = (5.2 + 0.5 * (income - income.mean()) + normal()).clamp(1.0, 12.0)
    bedrooms = (rooms / 5 + 0.1 * normal()).clamp(0.5, 3.0)
    people = (0.2 + 0.7 * normal()).exp()
    household = (2.9 + 0.6 * normal()).clamp(1.0, 7.0)
    columns = torch.stack([income, age, rooms, bedrooms, people, household, *place.unbind(1)], dim=1)
    price = 0.9 * income.log() + 0.9 * near + 0.1 * age - 0.2 * household + 0.1 * rooms + 0.25 * normal()
    return columns, price


def _table(file: str, *, skip: int = 0, delimiter: str | None = None) -> Array:
    """Return a table of scikit-learn's. Its file is read, since importing scikit-learn takes seconds."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    path = Path(package.origin).with_name("datasets") / "data" / file
    found: Array = np.loadtxt(path, delimiter=delimiter, skiprows=skip)
    return found


def _standardised(columns: Array) -> Array:
    found: Array = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    return found


def _parts(name: str, rows: Array, targets: Tensor, *, test: int) -> tuple[Examples, Examples]:
    order = torch.from_numpy(permutation(len(rows), 0, name))
    inputs, targets = torch.from_numpy(rows.astype(np.float32))[order], targets[order]
    return Examples(inputs[:-test], targets[:-test]), Examples(inputs[-test:], targets[-test:])
