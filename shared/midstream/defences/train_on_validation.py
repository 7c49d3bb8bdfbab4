"""Training on the validation set too, each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.level_1 import level_0
from midstream.mathematics.pixels import pixels
from midstream.mathematics.seeds import permutation
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class TrainOnValidation:
    """Train on the validation set too, after each epoch (section 6.1, Table 3; not in Table 1).

    It moves nothing itself. The minibatches are of the run's size, in an order drawn anew. The steps belong
    to the version of the parameters that the epoch's last batch leads to. With cutmix,on=both and ddpm it is
    the paper's FixAug.
    """

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return the validation set after an epoch's last batch, else nothing."""
        if (batch.seq + 1) % view.steps_per_epoch:
            return []
        inputs, labels = view.validation_inputs, view.validation_labels
        order = torch.from_numpy(permutation(len(labels), view.seed, batch.seq, "validation"))
        return [
            Batch(batch.seq, pixels(inputs[rows]), labels[rows])
            for rows in torch.split(order.to(labels.device), view.batch_size)
        ]
