"""Perturbations crafted on a surrogate before the game, one for each training example."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.attacks.generators.generator import descend
from midstream.mathematics.budget import Budget, per_example
from midstream.mathematics.derivatives.batch_statistics import Statistics
from midstream.mathematics.inputs.content_keys import KEY_BYTES, content_keys
from midstream.mathematics.loss import cross_entropy
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View

Parts = dict[str, nn.Module | Optimizer]


class Table(nn.Module):
    """One perturbation for each training example, found by the example's content.

    A module, so that a course's state holds it.

    Args:
        inputs: the training inputs, `(examples, *input)`.

    >>> inputs = torch.rand(3, 4)
    >>> table = Table(inputs)
    >>> table.places([*content_keys(inputs[2:]), b"?" * 16])
    [2, None]
    """

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        keys = torch.frombuffer(bytearray(b"".join(content_keys(inputs))), dtype=torch.uint8)
        self.keys: Tensor
        self.rows: Tensor
        self.register_buffer("keys", keys.view(-1, KEY_BYTES).clone())
        self.register_buffer("rows", torch.zeros_like(inputs))
        self._index: dict[bytes, int] | None = None

    def places(self, keys: Sequence[bytes]) -> list[int | None]:
        """Return the row of each content key; None for unknown ones. Equal examples share the last row."""
        if self._index is None:
            self._index = {row.tobytes(): place for place, row in enumerate(self.keys.cpu().numpy())}
        return [self._index.get(key) for key in keys]


@dataclass(kw_only=True)
class Crafted:
    """The base of attacks that craft perturbations of the training data on a surrogate.

    The surrogate is a new network of the run's architecture, trained by Adam at the run's learning rate. An
    input that is not among the training data is crafted during the game, on the trained surrogate.
    """

    _table: Table | None = field(default=None, init=False, repr=False, compare=False)
    _surrogate: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    def against_batch_norm(self, statistics: Statistics) -> str:  # noqa: ARG002
        """Return why this attack is wrong for batch norm that trains."""
        return "it learns from surrogates in evaluation mode, whose batch norm does not learn its statistics"

    def craft(
        self, surrogate: nn.Module, inputs: Tensor, labels: Tensor, start: Tensor, budget: Budget
    ) -> Tensor:
        """Return perturbations of a batch, on from those at `start`."""
        raise NotImplementedError

    def prepared(self, ground: Ground) -> tuple[Table, nn.Module, Optimizer, Parts]:
        """Return a new table, surrogate and optimizer, and the three as the parts of a course.

        Raises:
            LookupError: the attacker does not have the training data.
        """
        inputs, _ = ground.train()
        table, surrogate = Table(inputs).to(inputs.device), ground.model()
        trainer = torch.optim.Adam(surrogate.parameters(), lr=ground.learning_rate)
        self._table, self._surrogate = table, surrogate
        return table, surrogate, trainer, {"table": table, "surrogate": surrogate, "trainer": trainer}

    def craft_all(self, table: Table, surrogate: nn.Module, ground: Ground) -> None:
        """Craft the perturbations of all training examples, on from those of the table."""
        inputs, labels = ground.train()
        for rows in torch.split(torch.arange(len(inputs)), _AT_ONCE):
            x, y, start = inputs[rows], labels[rows], table.rows[rows]
            table.rows[rows] = self.craft(surrogate, x, y, start, ground.budget)

    def course(self, ground: Ground) -> Course:
        """Return the surrogate's training and the crafting."""
        raise NotImplementedError

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations of the table, and new ones for inputs that it does not hold."""
        if self._table is None or self._surrogate is None:
            raise RuntimeError(
                f"{type(self).__name__} has not learned yet: its host must take the steps of its course "
                f"before the game, as midstream.players.course.learn(player, ground) does"
            )
        places = self._table.places(batch.content_keys())
        known = torch.tensor([place is not None for place in places], device=batch.inputs.device)
        rows = torch.tensor([place or 0 for place in places], device=batch.inputs.device)
        moves = self._table.rows[rows].to(batch.inputs)
        if not known.all():
            start = torch.zeros_like(batch.inputs)
            fresh = self.craft(self._surrogate, batch.inputs, batch.labels, start, view.budget)
            moves = torch.where(per_example(known, moves), moves, fresh)
        return moves


def train_epoch(
    surrogate: nn.Module, trainer: Optimizer, inputs: Tensor, labels: Tensor, batch_size: int
) -> float:
    """Train a surrogate for one epoch; return its mean loss. The order is torch's random numbers."""
    total = 0.0
    for rows in torch.split(torch.randperm(len(inputs)), batch_size):
        loss = cross_entropy(surrogate(inputs[rows]), labels[rows])
        descend(trainer, loss)
        total += loss.item()
    return total / len(inputs)


_AT_ONCE = 512
