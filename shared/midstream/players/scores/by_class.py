"""Checkers that compare each example with those of its class, in the last batches and in Dval."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch, View
from midstream.players.scores.features import features
from midstream.players.scores.suspicion import Suspicion, among
from midstream.players.window import Window

Score = Callable[[Tensor], Tensor]
"""Takes features `(examples, width)` in double precision; returns a score `(examples,)`."""


@dataclass(kw_only=True)
class ByClass(ABC):
    """Collects the features of each class, has a subclass score them, and ranks the scores among Dval's.

    Args:
        window: number of earlier batches that are compared together with this one.
    """

    window: int = 5

    def __post_init__(self) -> None:
        self._window = Window(self.window)

    @abstractmethod
    def score_of(self, rows: Tensor, trusted: int) -> Score:
        """Return the score of a class's examples.

        Args:
            rows: the features of the class, `(examples, width)`, in double precision.
            trusted: how many of them, the last ones, are from Dval.
        """

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the scores among those of Dval."""
        inputs, labels = batch.inputs, batch.labels
        if len(self._window):
            inputs = torch.cat([inputs, self._window.inputs.to(inputs)])
            labels = torch.cat([labels, self._window.labels.to(labels)])
        seen = features(view.model, inputs)
        trusted, known = features(view.model, pixels(view.validation_inputs)), view.validation_labels
        count = len(batch.labels)
        scores, reference = seen.new_zeros(count), seen.new_zeros(len(known))
        for label in sorted(set(batch.labels.tolist())):
            own, safe = seen[labels == label], trusted[known == label]
            score = self.score_of(torch.cat([own, safe]).double(), len(safe))
            for found, rows, wanted in ((scores, seen[:count], batch.labels), (reference, trusted, known)):
                found[wanted == label] = score(rows[wanted == label].double()).to(found)
        self._window.add(batch)
        present = torch.isin(known, batch.labels)
        return among(reference[present] if present.any() else reference, scores)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last batches."""
        return self._window.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._window.load_state_dict(state)
