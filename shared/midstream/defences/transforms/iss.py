"""Image shortcut squeezing: grey values and JPEG."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from midstream.defences.transforms.images import check_images
from midstream.defences.transforms.jpeg import Jpeg, jpeg
from midstream.mathematics.level_1 import level_0
from midstream.players.interface import Batch, View

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's Grayscale


def greyscale(images: Tensor) -> Tensor:
    """Return colour images in grey, in three equal channels; images of other channels are unchanged.

    >>> greyscale(torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """
    if images.shape[1] != len(_LUMA):
        return images
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(1, keepdim=True).expand_as(images).contiguous()


@dataclass(kw_only=True)
class ShortcutSqueezing:
    """Squeeze shortcuts out of images by grey and JPEG (ISS, Liu et al. 2023; not in Table 1).

    The squeezed batch replaces the corrected one, and the budget does not limit it. Grey removes
    perturbations of low frequency that differ by channel, JPEG those of high frequency. Images of one channel
    have no colour to lose. Test images are not squeezed.

    Paper: "Image Shortcut Squeezing: Countering Perturbative Availability Poisons with Compression". The
    authors' code (liuzrcc/ImageShortcutSqueezing) applies what its options choose, and then crops and flips
    at random. Here both are applied unless `squeeze` chooses one, and `--augment` transforms the images.

    Args:
        squeeze: `grey`, `jpeg` or `both`.
        quality: JPEG's quality, from 1 to 95; the authors take 10.
    """

    squeeze: Literal["grey", "jpeg", "both"] = "both"
    quality: int = 10

    def __post_init__(self) -> None:
        Jpeg(quality=self.quality)  # refuses a quality out of range, and a machine without Pillow

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the squeezed batch."""
        check_images("iss", batch.inputs)
        images, low = batch.inputs, view.budget.low if math.isfinite(view.budget.low) else 0.0
        if self.squeeze != "jpeg":
            images = greyscale(images)
        if self.squeeze != "grey":
            images = jpeg(images, self.quality, low=low, high=view.budget.white)
        return replace(batch, inputs=images.clamp(view.budget.low, view.budget.high))
