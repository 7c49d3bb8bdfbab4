"""Random crops, rescaled to the size of the image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.defences.images import check_images
from midstream.players.interface import Batch, View


def crop_and_rescale(inputs: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a crop of each image, rescaled to the image's size by bilinear interpolation.

    Args:
        inputs: `(batch, channels, height, width)`.
        tops: the first row of each image's crop, `(batch,)`.
        lefts: its first column.
        size: height and width of a crop.

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

    Guo et al. train on crops of 90 of 224 pixels, each rescaled, and average a network's predictions over 30
    of them in testing. Training is what can be defended here, and the model is evaluated as it is: each image
    is taken towards the mean of its crops, one by default, and the change is held to the budget as the
    paper's section 6.1 has it for all methods it compares with.

    Args:
        side: of a crop, as a share of the image's; 90 / 224 by default. A crop has `int(side · pixels)`
            pixels a side, and at least 1.
        crops: how many are averaged.
    """

    side: float = 90 / 224
    crops: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.side <= 1:
            raise ValueError(f"side is a share of the image's, above 0 and at most 1, not {self.side}")
        if self.crops < 1:
            raise ValueError(f"crops must be at least 1, not {self.crops}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return what leads to the mean of the crops drawn for this batch."""
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
