"""Flipped labels: the inputs stay as they are."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class LabelFlip:
    """Flip labels to another class, drawn uniformly; inputs stay (a reference; not in Table 1: level 0).

    Args:
        rate: probability that an example's label is flipped.
    """

    needs_classes: ClassVar[str] = "it changes the class of an example"

    rate: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is the probability of a flip, from 0 to 1, not {self.rate}")

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return torch.zeros_like(batch.inputs)

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the labels, some of them flipped to another class of the validation set."""
        random, size = view.generator(batch.seq), len(batch.labels)
        flipped = (torch.rand(size, generator=random) < self.rate).to(batch.labels.device)
        keys = torch.rand(size, classes := 1 + int(view.validation_labels.max()), generator=random)
        keys = keys.to(batch.labels.device).scatter(1, batch.labels[:, None].clamp(max=classes - 1), -1.0)
        return torch.where(flipped, keys.argmax(dim=1), batch.labels)
