"""Detection by the model's confidence."""

from dataclasses import dataclass

from torch import Tensor

from midstream.players.interface import View
from midstream.players.scores.scored import Scored


@dataclass(kw_only=True)
class Confidence(Scored):
    """An example of which the model is unsure is suspicious (Hendrycks & Gimpel 2017; not in Table 1).

    `s(x) = log Σ_{c≠c*} exp z_c - z_{c*}` with the logits z and the most likely class c*: the log-odds
    against the prediction. It orders examples as 1 minus the largest softmax probability does, and still
    orders them if that rounds to 0. Labels are not used.

    Shapes: inputs `(batch, *input)`; scores `(batch,)`. Cost: one forward pass of the batch and one of Dval.
    """

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:  # noqa: ARG002
        """Return the log-odds against each prediction."""
        logits: Tensor = view.model(inputs)
        top = logits.argmax(1, keepdim=True)
        others = logits.scatter(1, top, float("-inf"))
        return others.logsumexp(1) - logits.gather(1, top)[:, 0]
