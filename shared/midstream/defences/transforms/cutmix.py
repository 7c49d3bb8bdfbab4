"""CutMix: replace a box of each image, and the same share of its label, by another image's."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.defences.transforms.images import check_images
from midstream.mathematics.level_1 import level_0
from midstream.players.interface import Batch, View

Box = tuple[int, int, int, int]
"""First row, end row (exclusive), first column, end column (exclusive)."""


def box_around(centre: tuple[int, int], share: float, size: tuple[int, int]) -> Box:
    """Return the box around a pixel that covers a share of an image, clipped at the border.

    Its sides are `√share` of the image's sides (Yun et al. 2019, eq. 2); half sides are rounded down.

    Args:
        centre: row and column.
        share: 1 - λ, the share of the area.
        size: height and width of the image.

    >>> box_around((4, 0), 0.25, (8, 8))
    (2, 6, 0, 2)
    """
    half = 0.5 * share**0.5
    (top, bottom), (left, right) = (
        (max(at - int(half * side), 0), min(at + int(half * side), side))
        for at, side in zip(centre, size, strict=True)
    )
    return top, bottom, left, right


def cut_mix(inputs: Tensor, shares: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Replace a box of each image, and the same share of its label, by those of the previous image.

    The result is `x_i` outside the box and `x_{i-1}` inside, with label `λ y_i + (1 - λ) y_{i-1}`. 1 - λ is
    the share of the image's area inside the box (Yun et al. 2019, eq. 1). torchvision's CutMix does the same.

    Args:
        inputs: `(batch, channels, height, width)`.
        shares: shares of the classes, `(batch, classes)`.
        box: the box of all images.

    >>> images, labels = cut_mix(torch.eye(2).reshape(2, 1, 1, 2), torch.eye(2), (0, 1, 0, 1))
    >>> images.flatten().tolist(), labels.tolist()
    ([0.0, 0.0, 1.0, 1.0], [[0.5, 0.5], [0.5, 0.5]])
    """
    top, bottom, left, right = box
    mixed = inputs.clone()
    mixed[..., top:bottom, left:right] = inputs.roll(1, 0)[..., top:bottom, left:right]
    kept = 1.0 - (bottom - top) * (right - left) / (inputs.shape[-2] * inputs.shape[-1])
    return mixed, shares.roll(1, 0) * (1.0 - kept) + shares * kept


@dataclass(kw_only=True)
class CutMix:
    """Paste a box of one image into another, labels by area (Yun et al. 2019, Table 3; not in Table 1).

    It has no perturbation of its own: the mixed batch replaces the corrected batch, and the budget does not
    limit it. λ is drawn from Beta(1, 1), as in the CutMix paper, with one box per batch. Each image's partner
    is the previous image, because the order of a batch is random.

    Args:
        on: `training` mixes the received batches, `validation` mixes the batches that a player such as
            train-on-validation rehearses, `both` mixes both.
    """

    on: Literal["training", "validation", "both"] = "training"

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the batch, mixed unless only validation data are mixed."""
        return batch if self.on == "validation" else _mixed(batch, view)

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return the rehearsed batch, mixed unless only training data are mixed."""
        return batch if self.on == "training" else _mixed(batch, view)


def _mixed(batch: Batch, view: View) -> Batch:
    check_images("cutmix", batch.inputs)
    random, (height, width) = view.generator(batch.seq), batch.inputs.shape[-2:]
    share = torch.rand((), generator=random, dtype=torch.float64).item()  # Beta(1, 1) is uniform
    row, column = (int(torch.randint(side, (), generator=random)) for side in (height, width))
    box = box_around((row, column), share, (height, width))
    known = batch.labels.is_floating_point()
    shares = batch.labels if known else F.one_hot(batch.labels, view.classes).to(batch.inputs)
    inputs, labels = cut_mix(batch.inputs, shares, box)
    return replace(batch, inputs=inputs, labels=labels)
