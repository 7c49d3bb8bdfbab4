"""Sentences put back into words: each embedding is replaced by the nearest token's."""

from dataclasses import dataclass, field

from torch import Tensor

from midstream.players.interface import Batch, View
from midstream.tasks.tokens import as_tokens, nearest, vocabulary


@dataclass(kw_only=True)
class NearestToken:
    """Move each embedding to the nearest token of Dval (the discreteness of text; not in Table 1).

    An attacker that perturbs embeddings freely sends vectors that are no token. The tokens are the distinct
    embeddings of the public validation set. A position whose nearest token is further than the budget allows
    stays as it arrived. An attacker with `tokens=nearest` sends tokens, and this defence leaves them alone.
    """

    _table: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations to the nearest tokens.

        Raises:
            ValueError: the inputs are no sequences of embeddings.
        """
        if self._table is None:
            self._table = vocabulary(view.validation_inputs)
        away = nearest(batch.inputs, self._table) - batch.inputs
        return as_tokens(batch.inputs, away, self._table, view.budget)
