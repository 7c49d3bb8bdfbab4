"""Training on the validation set after each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.level_1 import level_0
from midstream.mathematics.seeds import permutation
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class TrainOnValidation:
    """After each epoch, train on the validation set (section 6.1, Table 3; not in Table 1).

    It does not change any input. The minibatches have the run's size, in a new random order each time. Their
    steps count as part of the step on the epoch's last batch, within one version of the parameters. Combined
    with cutmix,on=both and ddpm it is the paper's FixAug.
    """

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return the validation set after an epoch's last batch, and nothing after the others."""
        if (batch.seq + 1) % view.steps_per_epoch:
            return []
        inputs, labels = view.validation_inputs, view.validation_labels
        order = torch.from_numpy(permutation(len(labels), view.seed, batch.seq, "validation"))
        return [
            Batch(batch.seq, pixels(inputs[rows]), labels[rows])
            for rows in torch.split(order.to(labels.device), view.batch_size)
        ]
