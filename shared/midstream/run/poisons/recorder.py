"""Records what an attacker sends, minibatch by minibatch."""

from collections.abc import Mapping

import torch
from torch import Tensor

from midstream.mathematics.inputs.content_keys import content_keys
from midstream.run.datasets import Examples
from midstream.run.poisons.poison import Poison


class Recorder:
    """Collects the rows of a poison.

    An example is recognised by its content, so equal examples share one row in a minibatch.

    Args:
        train: the run's training examples, with their places in the data set.
        everything: whether to record each visit of an example, or only the last one.

    Raises:
        ValueError: the places of the examples are unknown.
    """

    def __init__(self, train: Examples, *, everything: bool = False) -> None:
        if train.index is None:
            raise ValueError("the places of the training examples in their data set are unknown")
        self._everything = everything
        self._places: dict[bytes, int] = {}
        for key, place in zip(content_keys(train.pixels()), train.index.tolist(), strict=True):
            self._places[key] = min(place, self._places.get(key, place))
        self._rows: dict[tuple[bytes, int], tuple[int, Tensor, int]] = {}

    def add(self, seq: int, clean: Tensor, attacked: Tensor, labels: Tensor) -> None:
        """Record a minibatch: its clean inputs, and the inputs and labels after the attacker."""
        perturbations = (attacked - clean).cpu()
        for key, row, label in zip(content_keys(clean), perturbations, labels.tolist(), strict=True):
            self._rows[key, seq if self._everything else 0] = seq, row.clone(), label

    def poison(self, card: Mapping[str, object]) -> Poison:
        """Return what was recorded, sorted by minibatch and place in the data set.

        Raises:
            ValueError: nothing was recorded.
        """
        if not self._rows:
            raise ValueError("no minibatch was recorded")
        rows = sorted(
            (seq, self._places[key], key, row, label) for (key, _), (seq, row, label) in self._rows.items()
        )
        seqs, places, keys, perturbations, labels = zip(*rows, strict=True)
        return Poison(
            index=torch.tensor(places),
            hash=torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(len(keys), -1),
            perturbation=torch.stack(perturbations),
            label=torch.tensor(labels),
            seq=torch.tensor(seqs),
            card={**card, "rows": len(rows), "examples": len(set(keys))},
        )
