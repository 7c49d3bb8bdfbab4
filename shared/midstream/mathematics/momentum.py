"""The attacker's memory of its last perturbation of each input, recognised by content."""

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget


class MomentumHistory:
    """The momentum variant of an attack: `δ ← Proj(β δᴴ(x) + (1 - β) δ*)` (paper A.1.1).

    `δᴴ(x)` is the last perturbation of that input, before the clamp to the pixel range; it is 0 at the
    first visit. An input is recognised by its bytes. An attack whose `δ*` stays the same has reached
    `1 - β^E` of its budget after E visits, so the attack is weak in a short run.

    Args:
        beta: β in [0, 1); 0.95 in the paper, 0 for no memory.

    >>> history = MomentumHistory(beta=0.5)
    >>> x, p = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    >>> for _ in range(3):
    ...     print(history.blend(x, p, Budget(epsilon=1.0))[0, 0].item())
    0.5
    0.75
    0.875
    """

    def __init__(self, beta: float = 0.95) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be at least 0 and below 1, not {beta}")
        self.beta = beta
        self._last: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return len(self._last)

    def blend(self, inputs: Tensor, perturbation: Tensor, budget: Budget) -> Tensor:
        """Return the perturbation blended with each input's last one, and store the blend.

        Args:
            inputs: the clean inputs, `(batch, *input)`, the keys of the history.
            perturbation: the new `ε δ*`, the same shape, in pixel units.
            budget: the ball that the blend is projected onto.
        """
        if self.beta == 0:
            return perturbation
        keys = content_keys(inputs)
        nothing = torch.zeros_like(perturbation[0])
        last = torch.stack([self._last.get(key, nothing).to(perturbation) for key in keys])
        blended = budget.project(self.beta * last + (1 - self.beta) * perturbation)
        self._last.update(zip(keys, blended.unbind(), strict=True))
        return blended

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history: tensors by hexadecimal key."""
        return {key.hex(): value for key, value in self._last.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the history with one that `state_dict` returned."""
        self._last = {bytes.fromhex(key): value for key, value in state.items()}


def content_keys(inputs: Tensor) -> list[bytes]:
    """Return a 16-byte digest of each example's values."""
    rows = inputs.detach().flatten(1).contiguous().cpu().numpy()
    return [blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
