"""Deep Confuse: a generator of perturbations, learned over whole trainings of a surrogate."""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from midstream.attacks.generator import Generator, descend, generated
from midstream.mathematics.derivatives.gradients import loss_and_gradient, mixed_derivative
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View


def confusion(
    model: nn.Module, inputs: Tensor, labels: Tensor, moved: Tensor, *, loss: Loss = cross_entropy
) -> tuple[Tensor, Tensor]:
    """Return what a generator has to lower, and the clean loss, both summed over the batch.

    A step of size η on the moved inputs `x'` takes the model to `θ' = θ - η ∇θ Σ_j L_θ(x'_j)`. For the loss
    there on the clean inputs, to first order in η,

        ∇ξ Σ_j L_θ'(x_j) = -η Σ_j (∂x'_j/∂ξ)ᵀ B_x'_j v,  v = ∇θ Σ_j L_θ(x_j),

    which is level 1 (paper Theorem 1) with the batch in place of Dval and a perturbation that is learned.
    `Σ_j ⟨x'_j, B_x'_j v⟩`, with `B_x' v` held, has that gradient without the factor `-η`.

    Args:
        model: the surrogate at θ; neither it nor its gradients are changed.
        inputs: the clean inputs, `(batch, *input)`.
        labels: their targets, `(batch,)`.
        moved: x', with the graph that leads to ξ.
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
    """`p_ξ(x)`, an auto-encoder learned on surrogates' trainings (DC, Feng et al. 2019; Table 1: level 1).

    Learned on the training data, which the attacker has to have. Each trial trains a new surrogate on inputs
    moved by `p_ξ`; each of its steps moves a second copy ξ' up the clean loss of the same batch after that
    step, and after the trial ξ becomes ξ'. So no trajectory is kept, and the generator that the surrogate
    trains under stands still for a trial: the authors' memory-saving scheme. In the game, one forward pass a
    batch, whatever θ.

    Otherwise than in the authors' code (kingfengji/DeepConfuse, `MNIST/train.py`):

    - The step is differentiated to first order (see `confusion`); theirs is a virtual step of SGD, η = 0.01
      on the mean loss, differentiated at its finite size.
    - The surrogate is the run's own network, trained by Adam at the run's learning rate on the sum of the
      losses, in evaluation mode; theirs has batch norm over batch statistics and trains by SGD, η = 0.01.
    - 30 trials of 20 epochs, the generator by Adam at 0.003; the paper takes 500 trials, the code up to
      1,000 of one epoch each, at 0.0001.
    - The last generator is played; the code keeps the one whose victim has the lowest *test* accuracy.
    - `g_ξ` has the shapes of R2T2's VAE (A.1.2), without batch norm; the L2 game holds it to
      the L2 ball. Theirs is a convolutional auto-encoder of its own, `0.3 tanh`, in the L∞ game.

    Args:
        trials: surrogates that are trained; the authors train 500.
        epochs: of each surrogate's training.
        learning_rate: of the generator, by Adam.
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

    def course(self, ground: Ground) -> Course:
        """Return the trials, a step for each epoch of each; the loss told is the surrogate's on clean inputs.

        Raises:
            ValueError: the inputs are no images.
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
        """Return the learned perturbations."""
        return generated(self._generator, batch.inputs, attack="deep-confuse")
