"""A network that maps images to perturbations; attacks pretrain it before the game."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import Budget, per_example
from midstream.networks.autoencoder import LATENTS, Decoder, Encoder


class Generator(nn.Module):
    """`p_ξ(x)`: an auto-encoder whose output is bounded by tanh and projected onto the ball.

    With `t = tanh(g_ξ(x))`, `p_ξ(x)` is `ε t` in the L∞ game and `ε t / max(1, ‖t‖₂)`, which is `Proj(ε t)`,
    in the L2 game. Both are differentiable. `g_ξ` has the layer shapes of the paper's VAE (A.1.2) but is
    deterministic; see `midstream.networks.autoencoder`.

    Args:
        shape: shape of one input, `(channels, height, width)`.
        budget: the ball and the pixel range.

    Raises:
        ValueError: the inputs are not images.

    >>> generator = Generator((1, 8, 8), Budget(0.5))
    >>> bool((generator(torch.rand(3, 1, 8, 8)).flatten(1).norm(dim=1) <= 0.5 + 1e-6).all())
    True
    """

    def __init__(self, shape: Sequence[int], budget: Budget) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(
                f"inputs of shape {tuple(shape)} are no images of channels, height and width, which the "
                f"auto-encoder of this attack is made for; choose an attack without one, such as level-1"
            )
        self.encoder = Encoder(shape, LATENTS)
        self.decoder = Decoder(shape, LATENTS)
        self.budget = budget

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the perturbations of inputs `(batch, *input)`, in the same shape, in pixel units."""
        bounded: Tensor = self.decoder(self.encoder(inputs)).tanh()
        if self.budget.norm == "l2":
            bounded = bounded / per_example(bounded.flatten(1).norm(dim=1).clamp(min=1.0), bounded)
        perturbations: Tensor = self.budget.epsilon * bounded
        return perturbations

    def moved(self, inputs: Tensor) -> Tensor:
        """Return `x' = clamp(x + p_ξ(x))`, the perturbed inputs, differentiable in ξ."""
        moved: Tensor = (inputs + self(inputs)).clamp(self.budget.low, self.budget.high)
        return moved


def generated(generator: Generator | None, inputs: Tensor, *, attack: str) -> Tensor:
    """Return a pretrained generator's perturbations, in one forward pass.

    Raises:
        RuntimeError: the generator has not been trained.
    """
    if generator is None:
        raise RuntimeError(
            f"{attack} has not learned yet: its host must take the steps of its course before the game, as "
            f"midstream.players.course.learn(player, ground) does"
        )
    with torch.no_grad():
        moves: Tensor = generator(inputs)
    return moves


def descend(optimizer: torch.optim.Optimizer, value: Tensor) -> None:
    """Take one optimizer step that lowers a scalar."""
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
