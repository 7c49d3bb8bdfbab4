"""Linearly separable perturbations: patches whose colours give the class away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from midstream.attacks.static.shortcuts import drawn_for, to_the_edge
from midstream.mathematics.seeds import generator, permutation
from midstream.players.interface import Batch, View

_SEPARATION = 10.0
"""Half the side of the hypercube, for noise of deviation 1; the authors' `class_sep`."""

_BITS = 16  # two classes differ within the first cells


def corners(labels: Tensor, cells: int, seed: int) -> Tensor:
    """Return each label's corner of the hypercube {-1, 1}^cells, `(batch, cells)`, float64.

    Different classes have different corners.

    Raises:
        ValueError: the hypercube has fewer corners than there are classes.
    """
    bits = min(cells, _BITS)
    order, labels = _order(2**bits, seed), labels.cpu()
    if int(labels.max()) >= len(order):
        raise ValueError(
            f"lsp has {cells} patches on these inputs, too few for {1 + int(labels.max())} classes; set a "
            f"smaller patch"
        )
    corner_of = {label: _corner(order[label], label, cells, bits, seed) for label in set(labels.tolist())}
    return torch.stack([corner_of[label] for label in labels.tolist()])


@lru_cache(maxsize=4)
def _order(size: int, seed: int) -> list[int]:
    order: list[int] = permutation(size, seed, "lsp").tolist()
    return order


def _corner(number: int, label: int, cells: int, bits: int, seed: int) -> Tensor:
    """Return the corner whose first coordinates are the bits of a number; the others are drawn."""
    first = torch.tensor([number >> bit & 1 for bit in range(bits)], dtype=torch.float64)
    random = generator(seed, "lsp", "corner", label)
    rest = torch.rand(cells - bits, generator=random, dtype=torch.float64).round()
    return 2 * torch.cat([first, rest]) - 1


def tiled(cells: Tensor, shape: Sequence[int], patch: int) -> Tensor:
    """Return cells as an image of square patches, cropped to the shape.

    >>> tiled(torch.tensor([[1.0, 2.0]]), (1, 2, 3), 2).tolist()
    [[[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]]]
    """
    channels, height, width = shape
    grid = cells.reshape(len(cells), channels, -(-height // patch), -(-width // patch))
    return grid.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[..., :height, :width]


@dataclass(kw_only=True)
class LinearlySeparable:
    """Patches whose colours are linearly separable by class (LSP, Yu et al. 2022; not in Table 1).

    Each class has a corner of a hypercube, each example a normal draw around its class's corner. The draw is
    laid out as square patches and scaled to norm ε. It depends on the example's content and the seed. The
    attack uses no network and no training data.

    Paper: "Availability Attacks Create Shortcuts". The authors' code
    (dayu11/Availability-Attacks-Create-Shortcuts) draws with scikit-learn's `make_classification`, which also
    mixes the coordinates of each class by a random matrix. Here the noise of each class is spherical. The
    patch is a quarter of the image's side, which is their 8 pixels at 32. Inputs that are not images have
    cells of one value.

    Args:
        patch: side of a patch in pixels; by default a quarter of the image's smaller side.
    """

    needs_classes: ClassVar[str] = "it has a pattern for each class"

    patch: int | None = None

    def __post_init__(self) -> None:
        if self.patch is not None and self.patch < 1:
            raise ValueError(f"patch is at least 1 pixel, not {self.patch}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the pattern of each example."""
        shape = tuple(batch.inputs.shape[1:])
        image = len(shape) == 3
        patch = (self.patch or max(1, min(shape[1:]) // 4)) if image else 1
        cells = shape[0] * -(-shape[1] // patch) * -(-shape[2] // patch) if image else math.prod(shape)
        noise = drawn_for(batch.content_keys(), (cells,), view.seed, "lsp")
        found = _SEPARATION * corners(batch.labels, cells, view.seed) + noise
        pattern = tiled(found, shape, patch) if image else found.reshape(-1, *shape)
        return to_the_edge(pattern, view.budget).to(batch.inputs)
