"""Random crops, rescaled to the size of the image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.defences.transforms.images import check_images
from midstream.players.interface import Batch, View


def crop_and_rescale(inputs: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a crop of each image, rescaled to the image's size by bilinear interpolation.

    Args:
        inputs: `(batch, channels, height, width)`.
        tops: the first row of each image's crop, `(batch,)`.
        lefts: its first column.
        size: height and width of each crop.

    >>> ramp = torch.arange(4.0).reshape(1, 1, 1, 4)
    >>> crop_and_rescale(ramp, torch.tensor([0]), torch.tensor([2]), (1, 2)).flatten()
    tensor([2.0000, 2.2500, 2.7500, 3.0000])
    """
    batch, channels, height, width = inputs.shape
    rows = tops[:, None] + torch.arange(size[0], device=tops.device)
    columns = lefts[:, None] + torch.arange(size[1], device=lefts.device)
    images = torch.arange(batch, device=inputs.device)[:, None, None, None]
    planes = torch.arange(channels, device=inputs.device)[:, None, None]
    crops = inputs[images, planes, rows[:, None, :, None], columns[:, None, None, :]]
    return F.interpolate(crops, (height, width), mode="bilinear", align_corners=False)


@dataclass(kw_only=True)
class CropEnsemble:
    """Each image towards a random crop of it, rescaled (Guo et al. 2018, Table A.6; not in Table 1).

    Guo et al. train on rescaled crops of 90 of 224 pixels and average the network's predictions over 30 crops
    at test time. This defence acts only on training; evaluation does not crop. Each image is moved towards
    the mean of its crops (one crop by default), within the budget that the paper sets for all compared
    methods (section 6.1).

    Args:
        side: side of a crop, as a share of the image's; 90 / 224 by default. A crop has `int(side · pixels)`
            pixels on each side, at least 1.
        crops: number of crops to average.
    """

    side: float = 90 / 224
    crops: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.side <= 1:
            raise ValueError(f"side is a share of the image's, above 0 and at most 1, not {self.side}")
        if self.crops < 1:
            raise ValueError(f"crops must be at least 1, not {self.crops}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations from the images to the mean of their crops."""
        check_images("crop-ensemble", batch.inputs)
        random, (height, width) = view.generator(batch.seq), batch.inputs.shape[-2:]
        size = max(1, int(self.side * height)), max(1, int(self.side * width))

        def drawn(room: int) -> Tensor:
            return torch.randint(1 + room, (len(batch.inputs),), generator=random).to(batch.labels.device)

        total = torch.zeros_like(batch.inputs)
        for _ in range(self.crops):
            tops, lefts = drawn(height - size[0]), drawn(width - size[1])
            total += crop_and_rescale(batch.inputs, tops, lefts, size)
        return total / self.crops - batch.inputs
