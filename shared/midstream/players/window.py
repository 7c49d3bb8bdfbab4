"""A player's memory of the last minibatches."""

from collections.abc import Mapping

import torch
from torch import Tensor

from midstream.players.interface import Batch


class Window:
    """The inputs and labels of the last batches.

    Args:
        batches: how many batches to hold; 0 holds none.

    >>> window = Window(2)
    >>> for seq in range(3):
    ...     window.add(Batch(seq, torch.full((1, 2), float(seq)), torch.tensor([seq])))
    >>> window.labels.tolist()
    [1, 2]
    """

    def __init__(self, batches: int) -> None:
        if batches < 0:
            raise ValueError(f"window is a number of batches, at least 0, not {batches}")
        self._batches = batches
        self._inputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def __len__(self) -> int:
        return sum(map(len, self._labels))

    @property
    def inputs(self) -> Tensor:
        """All inputs, the oldest first; the window must not be empty."""
        return torch.cat(self._inputs)

    @property
    def labels(self) -> Tensor:
        """Their labels."""
        return torch.cat(self._labels)

    def add(self, batch: Batch) -> None:
        """Add a batch, and forget the oldest one if there are too many."""
        first = max(0, len(self._labels) + 1 - self._batches)
        self._inputs = [*self._inputs, batch.inputs.clone()][first:]
        self._labels = [*self._labels, batch.labels.clone()][first:]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the batches, by age."""
        return {f"inputs.{age}": one for age, one in enumerate(self._inputs)} | {
            f"labels.{age}": one for age, one in enumerate(self._labels)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        count = sum(name.startswith("labels.") for name in state)
        self._inputs = [state[f"inputs.{age}"].clone() for age in range(count)]
        self._labels = [state[f"labels.{age}"].clone() for age in range(count)]
