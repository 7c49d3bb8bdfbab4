"""CutMix: a box of each image is another's, and so is its share of the label."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.defences.images import check_images
from midstream.mathematics.level_1 import level_0
from midstream.players.interface import Batch, View

Box = tuple[int, int, int, int]
"""Rows from, to (exclusive), columns from, to."""


def box_around(centre: tuple[int, int], share: float, size: tuple[int, int]) -> Box:
    """Return the box of a share of an image around a pixel, cut off at the border.

    Its sides are `√share` of the image's (Yun et al. 2019, eq. 2), its halves rounded down.

    Args:
        centre: row and column.
        share: 1 - λ, of the area.
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
    """Return a batch in which each image has a box of the one before it, and its share of the label.

    `x_i` outside of the box, `x_{i-1}` inside; `λ y_i + (1 - λ) y_{i-1}`, 1 - λ the area of the box over that
    of the image (Yun et al. 2019, eq. 1). What torchvision's transform of that name does.

    Args:
        inputs: `(batch, channels, height, width)`.
        shares: of the classes, `(batch, classes)`.
        box: of all images.

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

    It moves nothing itself: what is mixed takes the place of the corrected batch, outside of the budget. λ is
    drawn from Beta(1, 1), as in its paper, and one box for all of a batch; each image's partner is the one
    before it, as the order of a batch is random.

    Args:
        on: `training` mixes what arrived, `validation` what a player such as train-on-validation rehearses,
            `both` each of them.
    """

    on: Literal["training", "validation", "both"] = "training"

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the batch mixed, where training data are to be."""
        return batch if self.on == "validation" else _mixed(batch, view)

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return the rehearsed batch mixed, where validation data are to be."""
        return batch if self.on == "training" else _mixed(batch, view)


def _mixed(batch: Batch, view: View) -> Batch:
    check_images("cutmix", batch.inputs)
    random, (height, width) = view.generator(batch.seq), batch.inputs.shape[-2:]
    share = torch.rand((), generator=random, dtype=torch.float64).item()  # Beta(1, 1) is even
    row, column = (int(torch.randint(side, (), generator=random)) for side in (height, width))
    box = box_around((row, column), share, (height, width))
    known = batch.labels.is_floating_point()
    shares = batch.labels if known else F.one_hot(batch.labels, view.classes).to(batch.inputs)
    inputs, labels = cut_mix(batch.inputs, shares, box)
    return replace(batch, inputs=inputs, labels=labels)
