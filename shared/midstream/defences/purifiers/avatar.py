"""AVATAR: train on images that a diffusion model has remade."""

from dataclasses import dataclass, replace

from torch import Tensor

from midstream.defences.purifiers.ddpm import Ddpm
from midstream.defences.purifiers.purifier import unit_range
from midstream.mathematics.level_1 import level_0
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class Avatar(Ddpm):
    """Train on images that are diffused and denoised (AVATAR, Dolatabadi et al. 2023; not in Table 1).

    As `ddpm`, but the purified batch replaces the corrected one, and the budget does not limit it: noise up
    to depth t* covers the perturbation, and the reverse process removes both.

    Paper: "The Devil's Advocate: Shattering the Illusion of Unexploitable Data using Diffusion Models". The
    authors' code (hmdolatabadi/AVATAR) purifies the data set before the training, with large diffusion models
    that are pretrained, and a depth that the user gives. Here the diffusion model is the one of `ddpm`,
    learned on Dval. The depth is the one at which the noise is as large as the ball, unless `depth` says
    otherwise, and the way back takes `jumps` jumps.
    """

    jumps: int = 5

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the purified batch."""
        low, high = view.budget.low, view.budget.high
        images = self.purify(unit_range(batch.inputs, view.budget), batch, view).to(batch.inputs)
        return replace(batch, inputs=(low + (high - low) * images).clamp(low, high))
