"""Detection by the training loss."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from midstream.players.interface import View
from midstream.players.scores.scored import Scored


@dataclass(kw_only=True)
class Loss(Scored):
    """An example with a high loss is suspicious (Koh & Liang 2017; not in Table 1).

    `s(x, y) = L_θ(x, y)` at the live parameters, ranked among the losses of Dval. Relabelled examples and
    examples that were moved towards another class have a high loss once the model has learned something;
    attacks that lower the loss, such as error-minimising noise, hide from it.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`, in nats. Cost: one forward pass of
    the batch and one of Dval.
    """

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        """Return the loss of each example."""
        return functional.cross_entropy(view.model(inputs), labels, reduction="none")
