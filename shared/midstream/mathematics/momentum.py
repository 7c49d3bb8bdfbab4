"""The attacker's memory of its last perturbation of each input, recognised by content."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from midstream.mathematics.budget import Budget
from midstream.mathematics.rows import Rows, content_keys


class MomentumHistory:
    """The momentum variant of an attack: `δ ← Proj(β δᴴ(x) + (1 - β) δ*)` (paper A.1.1).

    `δᴴ(x)` is the last perturbation of that input, before the clamp to the pixel range; it is 0 at the
    first visit. An input is recognised by its bytes. An attack whose `δ*` stays the same has reached
    `1 - β^E` of its budget after E visits, so the attack is weak in a short run.

    Args:
        beta: β in [0, 1); 0.95 in the paper, 0 for no memory.

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

    def __init__(self, beta: float = 0.95) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be at least 0 and below 1, not {beta}")
        self.beta = beta
        self.rows = Rows()

    def __len__(self) -> int:
        return len(self.rows)

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
            budget: the ball that the blend is projected onto.
            keys: the content keys of the inputs, if they are known; None computes them here.
        """
        if self.beta == 0:
            return perturbation
        places = self.rows.places(content_keys(inputs) if keys is None else keys, like=perturbation)
        last = self.rows.read(places)
        blended = budget.project(self.beta * last + (1 - self.beta) * perturbation)
        self.rows.write(places, blended)
        return blended

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history; see `midstream.mathematics.rows.Rows.state_dict`."""
        return self.rows.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the history with one that `state_dict` returned."""
        self.rows.load_state_dict(state)
