"""The attacker's memory of its last perturbation of each input, recognised by content."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget

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
        self._last: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return len(self._last)

    def recall(self, inputs: Tensor) -> Tensor:
        """Return the last perturbation of each input, `ε δᴴ(x)` in pixel units; 0 for an unknown input.

        Args:
            inputs: the clean inputs, `(batch, *input)`.
        """
        return self._recall(content_keys(inputs), inputs)

    def blend(self, inputs: Tensor, perturbation: Tensor, budget: Budget) -> Tensor:
        """Return the perturbation blended with each input's last one, and store the blend.

        Args:
            inputs: the clean inputs, `(batch, *input)`, the keys of the history.
            perturbation: the new `ε δ*`, the same shape, in pixel units.
            budget: the ball that the blend is brought into.
        """
        if self.beta == 0:
            return perturbation if self.rule == "project" else self._within(perturbation, budget)
        keys = content_keys(inputs)
        last = self._recall(keys, perturbation)
        blended = self._within(self.beta * last + (1 - self.beta) * perturbation, budget)
        self._last.update(zip(keys, blended.unbind(), strict=True))
        return blended

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history: tensors by hexadecimal key."""
        return {key.hex(): value for key, value in self._last.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the history with one that `state_dict` returned."""
        self._last = {bytes.fromhex(key): value for key, value in state.items()}

    def _recall(self, keys: list[bytes], like: Tensor) -> Tensor:
        nothing = torch.zeros_like(like[0])
        return torch.stack([self._last.get(key, nothing).to(like) for key in keys])

    def _within(self, blend: Tensor, budget: Budget) -> Tensor:
        return budget.project(blend) if self.rule == "project" else budget.epsilon * budget.direction(blend)


def content_keys(inputs: Tensor) -> list[bytes]:
    """Return a 16-byte digest of each example's values."""
    rows = inputs.detach().flatten(1).contiguous().cpu().numpy()
    return [blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
