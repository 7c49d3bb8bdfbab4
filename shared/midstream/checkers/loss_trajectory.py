"""Detection by the course of the loss over the training."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.derivatives.functional import functional_call, trainable
from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch, View
from midstream.players.scores.suspicion import Suspicion, among
from midstream.tasks.losses import each


@dataclass(kw_only=True)
class LossTrajectory:
    """An example whose loss went unlike Dval's is suspicious (MAP-D, Siddiqui et al. 2022; not in Table 1).

    `s(x, y)` is the distance to the k-th nearest trajectory of Dval, where the trajectory of an example is
    `(log(1 + L_θ(x, y)))` over snapshots of θ and the live parameters; of a negative loss, which only a loss
    of your own can be, it is `-log(1 - L)`. Siddiqui et al. record the losses of
    each training example; an attacked example differs at each visit, so its losses are
    computed at earlier parameters instead.

    Shapes: inputs `(batch, *input)`, labels as in `Batch`; scores `(batch,)`. Cost: snapshots + 1 forward
    passes of the batch and of Dval. Memory: the snapshots, which are part of the run's checkpoints.

    Args:
        snapshots: number of earlier parameters.
        every: steps between two snapshots.
        k: which neighbour, counted from 1.
    """

    snapshots: int = 4
    every: int = 20
    k: int = 10

    def __post_init__(self) -> None:
        if min(self.snapshots, self.every, self.k) < 1:
            raise ValueError(
                f"snapshots, every and k are at least 1, not {self.snapshots}, {self.every} and {self.k}"
            )
        self._snapshots: list[dict[str, Tensor]] = []

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the distances among those within Dval."""
        now = {name: value.detach().clone() for name, value in trainable(view.model).items()}
        known = pixels(view.validation_inputs)
        trusted = self._trajectory(now, known, view.validation_labels, view)
        seen = self._trajectory(now, batch.inputs, batch.labels, view)
        if view.parameters_version % self.every == 0:
            self._snapshots = [*self._snapshots, now][-self.snapshots :]
        within = torch.cdist(trusted, trusted).fill_diagonal_(float("inf"))
        return among(self._nearest(within), self._nearest(torch.cdist(seen, trusted)))

    def _nearest(self, distances: Tensor) -> Tensor:
        """Return the k-th smallest distance in each row, of at most all but one."""
        place = max(1, min(self.k, distances.shape[1] - 1))
        return distances.kthvalue(place, dim=1).values

    def _trajectory(self, now: dict[str, Tensor], inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        with torch.no_grad():
            losses = [
                each(view.loss, functional_call(view.model, at, (inputs,)), labels)
                for at in (*self._snapshots, now)
            ]
        found = torch.stack(losses, dim=1)
        return found.sign() * found.abs().log1p()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the snapshots, by age."""
        return {
            f"{age}.{name}": value
            for age, parameters in enumerate(self._snapshots)
            for name, value in parameters.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        found: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            age, _, name = key.partition(".")
            found.setdefault(int(age), {})[name] = value.clone()
        self._snapshots = [found[age] for age in sorted(found)]
