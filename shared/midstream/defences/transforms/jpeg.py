"""JPEG compression."""

import importlib
import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from midstream.defences.transforms.images import check_images
from midstream.players.interface import Batch, View


def jpeg(inputs: Tensor, quality: int, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return images after JPEG compression by Pillow.

    Args:
        inputs: `(batch, channels, height, width)`; three channels are a colour image, any other number are
            separate grey images.
        quality: from 1 (smallest file) to 95.
        low: the pixel value of black.
        high: the pixel value of white.

    >>> grey = torch.full((1, 1, 8, 8), 0.5)
    >>> (jpeg(grey, 75) - grey).abs().max() < 0.5 / 255 + 1e-6
    tensor(True)
    """
    from PIL import Image  # of the extra 'datasets'

    colour = inputs.shape[1] == 3
    stored = ((inputs - low) * (255 / (high - low))).round().clamp(0, 255).to("cpu", torch.uint8)
    pages = stored.movedim(1, -1) if colour else stored.flatten(0, 1)
    read = []
    for page in pages.contiguous().numpy():
        file = BytesIO()
        Image.fromarray(page).save(file, "JPEG", quality=quality)
        read.append(np.asarray(Image.open(file)))
    found = torch.from_numpy(np.stack(read)).to(inputs)
    found = found.movedim(-1, 1) if colour else found.reshape(inputs.shape)
    return found * ((high - low) / 255) + low


@dataclass(kw_only=True)
class Jpeg:
    """Move each image towards its JPEG-compressed version (Guo et al. 2018; not in Table 1).

    If the pixel range is unbounded, black is 0 and white is 1.

    Args:
        quality: from 1 (smallest file) to 95.
    """

    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality is from 1 to 95, not {self.quality}")
        try:
            importlib.import_module("PIL")
        except ModuleNotFoundError as error:
            raise ValueError("it needs Pillow, of the extra midstream[datasets]; install that") from error

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations from the images to the compressed images."""
        check_images("jpeg", batch.inputs)
        low, high = view.budget.low if math.isfinite(view.budget.low) else 0.0, view.budget.white
        return jpeg(batch.inputs, self.quality, low=low, high=high) - batch.inputs
