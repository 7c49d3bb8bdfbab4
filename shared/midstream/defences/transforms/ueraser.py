"""UEraser: of several strong augmentations of each image, the one with the largest loss."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream.defences.purifiers.purifier import unit_range
from midstream.defences.transforms.images import check_images
from midstream.mathematics.level_1 import level_0
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.loss import Loss
from midstream.players.interface import Batch, View


def plasma(size: tuple[int, int], count: int, roughness: float, random: torch.Generator) -> Tensor:
    """Return fractal clouds with values from 0 to 1, `(count, 1, height, width)`.

    Octaves of noise on finer grids are added, each `roughness` times as strong as the one before.
    """
    total, weight, cells = torch.zeros(count, 1, *size), 1.0, 2
    while weight > 0.01 and cells <= 2 * max(size):
        octave = torch.rand(count, 1, min(cells, size[0]), min(cells, size[1]), generator=random)
        total += weight * F.interpolate(octave, size, mode="bilinear", align_corners=True)
        weight, cells = weight * roughness, cells * 2
    low, high = (found(total, dim=(2, 3), keepdim=True) for found in (torch.amin, torch.amax))
    return (total - low) / (high - low).clamp(min=1e-6)


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Return images with plasma brightness, plasma contrast and shuffled channels, each by a fair coin.

    Args:
        images: `(batch, channels, height, width)`, with pixels between 0 and 1.
        random: the generator to draw from.
    """
    count, channels = len(images), images.shape[1]
    size = int(images.shape[2]), int(images.shape[3])

    def drawn() -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=random)

    def cloud() -> Tensor:
        roughness = 0.1 + 0.6 * torch.rand((), generator=random).item()
        return plasma(size, count, roughness, random)

    lighter = ((cloud() - 0.5) * 2 * drawn()).to(images)
    bright = torch.where((drawn() < 0.5).to(images.device), (images + lighter).clamp(0, 1), images)
    contrast = (4 * cloud()).to(images)
    steep = ((bright - 0.5) * contrast + 0.5).clamp(0, 1)
    found = torch.where((drawn() < 0.5).to(images.device), steep, bright)
    order = torch.rand(count, channels, generator=random).argsort(1).to(images.device)
    shuffled = found.gather(1, order[:, :, None, None].expand_as(found))
    return torch.where((drawn() < 0.5).to(images.device), shuffled, found)


def losses(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each example, `(batch,)`, of a loss that sums over its batch."""
    with torch.no_grad():
        outputs = model(inputs)
        each = [loss(outputs[row : row + 1], labels[row : row + 1]) for row in range(len(outputs))]
    return torch.stack(each)


@dataclass(kw_only=True)
class UEraser:
    """The worst of several strong augmentations of each image (UEraser, Qin et al. 2023; not in Table 1).

    Each image is augmented `repeats` times by plasma brightness, plasma contrast and a shuffle of its
    channels. The version with the largest loss at the live parameters is trained on. It replaces the
    corrected image, and the budget does not limit it. Images of one channel have no channels to shuffle.

    Paper: "Learning the Unlearnable: Adversarial Augmentations Suppress Unlearnable Example Attacks". The
    authors' code (lafeat/ueraser) ends each augmentation with TrivialAugment, makes clouds with Kornia, and
    in most of its examples takes the worst of several versions in the first epochs only. Here there is no
    TrivialAugment, clouds are sums of bilinear noise, their roughness and strength are drawn from wider
    ranges, and every epoch takes the worst version. One repeat is what the authors call UEraser-Lite.

    Args:
        repeats: augmentations of each image; the authors take 5.
    """

    repeats: int = 5

    def __post_init__(self) -> None:
        check_steps(self.repeats, called="repeats")

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the version of each image with the largest loss."""
        check_images("ueraser", batch.inputs)
        budget, random = view.budget, view.generator(batch.seq)
        images = unit_range(batch.inputs, budget)
        versions = torch.stack([augmented(images, random) for _ in range(self.repeats)])
        inputs = (budget.low + (budget.high - budget.low) * versions).clamp(budget.low, budget.high)
        if self.repeats == 1:
            return replace(batch, inputs=inputs[0])
        worst = torch.stack([losses(view.model, one, batch.labels, view.loss) for one in inputs]).argmax(0)
        return replace(batch, inputs=inputs[worst, torch.arange(len(worst), device=worst.device)])
