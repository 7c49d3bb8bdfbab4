"""Detection by the size of an example's gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, func
from torch.nn import functional

from midstream.mathematics.derivatives.functional import functional_call, trainable
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.interface import View
from midstream.players.scores.features import features_and_outputs
from midstream.players.scores.scored import Scored

_CHUNK = 64


@dataclass(kw_only=True)
class GradientNorm(Scored):
    """An example with a large gradient is suspicious (GraNd, Paul et al. 2021; not in Table 1).

    `s(x, y) = ‖∇θ L_θ(x, y)‖`. For the last layer, with features h and logits z, it is
    `‖softmax(z) - e_y‖ √(1 + ‖h‖²)` in closed form; for another loss, with `∇_z L` in place of
    `softmax(z) - e_y`. A model without a linear layer has h = z. Hong et
    al. (2020) limit these norms against poisoning.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`. Cost: one forward pass of the
    batch and one of Dval, and one backward pass of each with `layers=all`.

    Args:
        layers: `last` takes the gradient at the last layer only, `all` at all parameters.
    """

    layers: Literal["last", "all"] = "last"

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        """Return the norm of each example's gradient."""
        if self.layers == "last":
            h, logits = features_and_outputs(view.model, inputs)
            residual = _residual(logits, labels, view.loss)
            size: Tensor = residual.norm(dim=1) * (1 + h.square().sum(1)).sqrt()
            return size
        parameters = {name: value.detach() for name, value in trainable(view.model).items()}

        def loss(at: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            outputs: Tensor = functional_call(view.model, at, (x[None],))
            return view.loss(outputs, y[None])

        each = func.vmap(func.grad(loss), in_dims=(None, 0, 0), chunk_size=_CHUNK)
        gradients: Mapping[str, Tensor] = each(parameters, inputs, labels)
        return torch.stack([one.flatten(1).square().sum(1) for one in gradients.values()]).sum(0).sqrt()


def _residual(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the gradient of the loss at the outputs, differentiable if they are."""
    if loss is cross_entropy:
        return outputs.softmax(1) - functional.one_hot(targets, outputs.shape[1])
    further = outputs.requires_grad and torch.is_grad_enabled()
    at = outputs if further else outputs.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(loss(at, targets), at, create_graph=further)[0]
