"""The attacker's memory of its last perturbation of each input, recognised by content."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from midstream.mathematics.budget import Budget
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.rows import Rows

Blend = Literal["project", "whole"]
"""How a blend of two perturbations is brought into the ball: by `Proj`, or by scaling it to norm ε."""


class MomentumHistory:
    """The momentum variant of an attack: `δ ← Proj(β δᴴ(x) + (1 - β) δ*)` (paper A.1.1).

    `δᴴ(x)` is the last perturbation of that input, before the clamp to the pixel range; it is 0 at the
    first visit. An input is recognised by its bytes. An attack whose `δ*` stays the same has reached
    `1 - β^E` of its budget after E visits, so the attack is weak in a short run.

    `Proj` only shortens, so a blend of changing directions stays inside the ball. With `rule="whole"`, each
    blend has norm ε: `δ ← e(β δᴴ(x) + (1 - β) δ*)`, another reading of the paper.

    Args:
        beta: β in [0, 1); 0.95 in the paper, 0 for no memory.
        rule: `project` or `whole`.

    Attributes:
        rows: `δᴴ`, a row for each input.

    >>> import torch
    >>> history = MomentumHistory(beta=0.5)
    >>> x, p = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    >>> for _ in range(3):
    ...     print(history.blend(x, p, Budget(epsilon=1.0))[0, 0].item())
    0.5
    0.75
    0.875
    """

    def __init__(self, beta: float = 0.95, rule: Blend = "project") -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be at least 0 and below 1, not {beta}")
        if rule not in ("project", "whole"):
            raise ValueError(f"a blend is brought into the ball by 'project' or 'whole', not {rule!r}")
        self.beta = beta
        self.rule = rule
        self.rows = Rows()

    def __len__(self) -> int:
        return len(self.rows)

    def recall(self, inputs: Tensor, *, keys: Sequence[bytes] | None = None) -> Tensor:
        """Return the last perturbation of each input, `ε δᴴ(x)` in pixel units; 0 for an unknown input.

        Args:
            inputs: the clean inputs, `(batch, *input)`.
            keys: the content keys of the inputs, if they are known; None computes them here.
        """
        return self.rows.recall(content_keys(inputs) if keys is None else keys, like=inputs)

    def blend(
        self,
        inputs: Tensor,
        perturbation: Tensor,
        budget: Budget,
        *,
        keys: Sequence[bytes] | None = None,
    ) -> Tensor:
        """Return the perturbation blended with each input's last one, and store the blend.

        Args:
            inputs: the clean inputs, `(batch, *input)`, which the history recognises.
            perturbation: the new `ε δ*`, the same shape, in pixel units.
            budget: the ball that the blend is brought into.
            keys: the content keys of the inputs, if they are known; None computes them here.
        """
        if self.beta == 0:
            return perturbation if self.rule == "project" else self._within(perturbation, budget)
        places = self.rows.places(content_keys(inputs) if keys is None else keys, like=perturbation)
        last = self.rows.read(places)
        blended = self._within(self.beta * last + (1 - self.beta) * perturbation, budget)
        self.rows.write(places, blended)
        return blended

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history; see `midstream.mathematics.inputs.rows.Rows.state_dict`."""
        return self.rows.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the history with one that `state_dict` returned."""
        self.rows.load_state_dict(state)

    def _within(self, blend: Tensor, budget: Budget) -> Tensor:
        return budget.project(blend) if self.rule == "project" else budget.epsilon * budget.direction(blend)
