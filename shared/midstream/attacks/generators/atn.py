"""An adversarial transformation network: a network pretrained to perturb inputs in one forward pass."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from midstream.attacks.generators.generator import Generator, descend, generated
from midstream.mathematics.derivatives.batch_statistics import Statistics
from midstream.mathematics.loss import cross_entropy
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class Atn:
    """`p_ξ(x)`, learned against a trained surrogate (ATN, Baluja and Fischer 2018; Table 1: level 1).

    A surrogate is trained on clean Dval by Adam and then frozen. Against it, the auto-encoder learns
    `max_ξ Σ_z L(clamp(z + p_ξ(z)))`, the loss of each input's own label; FGSM raises the same loss by a
    gradient instead of a network. In the game, each batch takes one forward pass, whatever θ.

    The original lowers `β ‖x' - x‖² + ‖f(x') - r_α(f(x), t)‖²`. Its reranking `r_α` sets the output of a
    target class t to α times the largest output and preserves the order of the others. Here the ball bounds
    `x' - x` instead of β. There is no target, so there is no reranking, and any other class will do.

    Args:
        surrogate_epochs: epochs of the surrogate's training, over Dval.
        epochs: epochs of the network's training, over Dval.
        learning_rate: Adam's learning rate for the network.
    """

    surrogate_epochs: int = 60
    epochs: int = 60
    learning_rate: float = 0.001
    _generator: Generator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.surrogate_epochs, self.epochs) < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"surrogate_epochs and epochs must be at least 1 and learning_rate above 0 and finite, not "
                f"{self.surrogate_epochs}, {self.epochs} and {self.learning_rate}"
            )

    def against_batch_norm(self, statistics: Statistics) -> str:  # noqa: ARG002
        """Return why this attack is wrong for batch norm that trains."""
        return "it learns from surrogates in evaluation mode, whose batch norm does not learn its statistics"

    def course(self, ground: Ground) -> Course:
        """Return the course: the surrogate's epochs, then the network's, one step for each epoch.

        Each step returns the surrogate's loss in nats per example: first on clean inputs, later on perturbed
        ones.

        Raises:
            ValueError: the inputs are not images.
        """
        inputs, labels = ground.validation_inputs, ground.validation_labels
        generator = self._generator = Generator(inputs.shape[1:], ground.budget).to(inputs)
        climber = torch.optim.Adam(generator.parameters(), lr=self.learning_rate)
        surrogate = ground.model()
        trainer = torch.optim.Adam(surrogate.parameters(), lr=ground.learning_rate)

        def step(number: int) -> float:
            total = 0.0
            for rows in torch.split(torch.randperm(len(inputs)), ground.batch_size):
                x, y = inputs[rows], labels[rows]
                if number < self.surrogate_epochs:
                    loss = cross_entropy(surrogate(x), y)
                    descend(trainer, loss)
                else:
                    loss = cross_entropy(surrogate(generator.moved(x)), y)
                    descend(climber, -loss)
                total += loss.item()
            return total / len(inputs)

        parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "generator": generator,
            "climber": climber,
            "surrogate": surrogate,
            "trainer": trainer,
        }
        return Course(repr(self), parts, self.surrogate_epochs + self.epochs, step)

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return the learned perturbations."""
        return generated(self._generator, batch.inputs, attack="atn")
