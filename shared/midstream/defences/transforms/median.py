"""The median filter."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from midstream.defences.transforms.images import check_images
from midstream.players.interface import Batch, View


def median_filter(inputs: Tensor, size: int) -> Tensor:
    """Replace each pixel by the median of the square around it, for each channel separately.

    Border pixels are replicated beyond the image's edge.

    Args:
        inputs: `(batch, channels, height, width)`.
        size: side of the squares in pixels, odd.

    >>> import torch
    >>> spot = torch.zeros(1, 1, 5, 5)
    >>> spot[..., 2, 2] = 1.0
    >>> median_filter(spot, 3).any().item()
    False
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size is the side of a square round a pixel, odd, not {size}")
    around = F.pad(inputs, (size // 2,) * 4, mode="replicate")
    squares = around.unfold(2, size, 1).unfold(3, size, 1)
    return squares.flatten(4).median(dim=4).values


@dataclass(kw_only=True)
class Median:
    """Move each image towards its median-filtered version (Xu et al. 2018; not in Table 1).

    The median filter is one of the squeezers of feature squeezing (Xu et al. 2018).

    Args:
        size: side of the squares to take the median of, in pixels, odd.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"size is the side of a square round a pixel, odd, not {self.size}")

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return the perturbations from the images to the filtered images."""
        check_images("median", batch.inputs)
        return median_filter(batch.inputs, self.size) - batch.inputs
