"""Deep Confuse: a generator of perturbations, trained over whole training runs of a surrogate."""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from midstream.attacks.generators.generator import Generator, descend, generated
from midstream.mathematics.derivatives.batch_statistics import Statistics
from midstream.mathematics.derivatives.gradients import loss_and_gradient, mixed_derivative
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View


def confusion(
    model: nn.Module, inputs: Tensor, labels: Tensor, moved: Tensor, *, loss: Loss = cross_entropy
) -> tuple[Tensor, Tensor]:
    """Return the generator's objective, to be lowered, and the clean loss, both summed over the batch.

    A step of size η on the moved inputs `x'` takes the model to `θ' = θ - η ∇θ Σ_j L_θ(x'_j)`. The clean loss
    at `θ'` satisfies, to first order in η,

        ∇ξ Σ_j L_θ'(x_j) = -η Σ_j (∂x'_j/∂ξ)ᵀ B_x'_j v,  v = ∇θ Σ_j L_θ(x_j),

    which is level 1 (paper Theorem 1) with the batch in place of Dval and a learned perturbation. The
    objective `Σ_j ⟨x'_j, B_x'_j v⟩`, with `B_x' v` as a constant, has the same gradient without the factor
    `-η`.

    Args:
        model: the surrogate at θ; neither it nor its gradients are changed.
        inputs: the clean inputs, `(batch, *input)`.
        labels: their targets, `(batch,)`.
        moved: x', with its autograd graph back to ξ.
        loss: a loss that sums over its batch.

    >>> model, x, y = nn.Linear(4, 3), torch.rand(2, 4), torch.tensor([0, 1])
    >>> shift = torch.zeros(4, requires_grad=True)
    >>> confusion(model, x, y, x + shift)[0].backward()
    >>> shift.grad.shape
    torch.Size([4])
    """
    clean, v = loss_and_gradient(model, inputs, labels, loss=loss)
    along = mixed_derivative(model, moved.detach(), labels, v, loss=loss)
    return (moved * along).sum(), clean


@dataclass(kw_only=True)
class DeepConfuse:
    """`p_ξ(x)`, an auto-encoder trained against surrogates (DC, Feng et al. 2019; Table 1: level 1).

    It learns on the training data, which the attacker must possess. Each trial trains a new surrogate on
    inputs moved by `p_ξ`. Each step of the surrogate moves a second copy ξ' up the clean loss of the same
    batch after that step; after the trial, ξ becomes ξ'. This is the authors' memory-saving scheme: no
    trajectory is stored, and the generator that moves the surrogate's inputs is fixed during a trial. In the
    game, each batch takes one forward pass, whatever θ.

    Differences from the authors' code (kingfengji/DeepConfuse, `MNIST/train.py`):

    - The step is differentiated to first order (see `confusion`). The authors differentiate a finite virtual
      step of SGD, η = 0.01 on the mean loss.
    - The surrogate is the run's own network, trained by Adam at the run's learning rate on the sum of the
      losses, in evaluation mode. The authors' has batch norm over batch statistics and trains by SGD, η =
      0.01.
    - There are 30 trials of 20 epochs, with Adam at 0.003 for the generator. The paper takes 500 trials; the
      code takes up to 1,000 trials of one epoch each, at 0.0001.
    - The game uses the last generator. The code selects the one whose victim has the lowest *test* accuracy.
    - `g_ξ` has the shapes of R2T2's VAE (A.1.2), without batch norm, and respects the L2 ball in the L2 game.
      The authors use a different convolutional auto-encoder, `0.3 tanh`, in the L∞ game.

    Args:
        trials: number of surrogates to train; the authors train 500.
        epochs: epochs of each surrogate's training.
        learning_rate: Adam's learning rate for the generator.
    """

    trials: int = 30
    epochs: int = 20
    learning_rate: float = 0.003
    _generator: Generator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.trials, self.epochs) < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"trials and epochs must be at least 1 and learning_rate above 0 and finite, not "
                f"{self.trials}, {self.epochs} and {self.learning_rate}"
            )

    def against_batch_norm(self, statistics: Statistics) -> str:  # noqa: ARG002
        """Return why this attack is wrong for batch norm that trains."""
        return "it learns from surrogates in evaluation mode, whose batch norm does not learn its statistics"

    def course(self, ground: Ground) -> Course:
        """Return the trials, one step per epoch; each step returns the surrogate's loss on clean inputs.

        Raises:
            ValueError: the inputs are not images.
            LookupError: the attacker does not have the training data.
        """
        inputs, labels = ground.train()
        ahead = Generator(inputs.shape[1:], ground.budget).to(inputs)
        generator = self._generator = copy.deepcopy(ahead)
        climber = torch.optim.Adam(ahead.parameters(), lr=self.learning_rate)
        surrogate = ground.model()
        trainer = torch.optim.Adam(surrogate.parameters(), lr=ground.learning_rate)

        def step(number: int) -> float:
            if number % self.epochs == 0:
                surrogate.load_state_dict(ground.model().state_dict())
                trainer.state.clear()
            total = 0.0
            for rows in torch.split(torch.randperm(len(inputs)), ground.batch_size):
                x, y = inputs[rows], labels[rows]
                lowered, clean = confusion(surrogate, x, y, ahead.moved(x))
                descend(climber, lowered)
                with torch.no_grad():
                    moved = generator.moved(x)
                descend(trainer, cross_entropy(surrogate(moved), y))
                total += clean.item()
            if (number + 1) % self.epochs == 0:
                generator.load_state_dict(ahead.state_dict())
            return total / len(inputs)

        parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "generator": generator,
            "ahead": ahead,
            "climber": climber,
            "surrogate": surrogate,
            "trainer": trainer,
        }
        return Course(repr(self), parts, self.trials * self.epochs, step)

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return the generator's perturbations."""
        return generated(self._generator, batch.inputs, attack="deep-confuse")
