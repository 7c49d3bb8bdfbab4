"""Several labels at once: what is true of each digit."""

import torch

from midstream.run.datasets.examples import Dataset, Examples, Source
from midstream.run.datasets.published import digits

TRAITS = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "above four": (5, 6, 7, 8, 9),
    "has a loop": (0, 6, 8, 9),
}
"""Each label, and the digits that it applies to."""


def digit_traits(source: Source) -> Dataset:
    """Return scikit-learn's digits with four labels each: even, prime, above four, has a loop.

    >>> digit_traits(Source()).train.labels.shape
    torch.Size([1400, 4])
    """
    plain = digits(source)
    table = torch.tensor([[float(digit in of) for of in TRAITS.values()] for digit in range(10)])

    def of(examples: Examples) -> Examples:
        return Examples(examples.inputs, table[examples.labels])

    return Dataset(of(plain.train), of(plain.test), tuple(TRAITS), "multi-label")
