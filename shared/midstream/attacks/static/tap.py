"""Targeted adversarial poisons: adversarial examples of a clean network, as training data."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from midstream.attacks.static.em import error_minimizing
from midstream.attacks.static.table import Crafted, train_epoch
from midstream.mathematics.budget import Budget
from midstream.mathematics.level_k import check_steps
from midstream.players.course import Course, Ground


@dataclass(kw_only=True)
class AdversarialPoison(Crafted):
    """Adversarial examples towards class y + shift, labelled y (TAP, Fowl et al. 2021; not in Table 1).

    It learns on the training data, which the attacker must possess. A surrogate is trained on clean data.
    Then each example descends the surrogate's loss with the label `(y + shift) mod classes`, and is sent with
    its own label y: the victim learns the features of one class under the name of another.

    Paper: "Adversarial Examples Make Strong Poisons"; this is its class-targeted form. The authors' code
    (lhfowl/adversarial_poisons) attacks a ResNet-18 through random augmentation, with eight restarts and
    `shift` 1. Here the surrogate is the run's own network, trained by Adam at the run's learning rate, in
    evaluation mode; there is no augmentation and one start. In the L2 game a step follows the normalised
    gradient.

    Args:
        surrogate_epochs: epochs of the surrogate's training.
        steps: steps on each δ; the authors take 250.
        step_size: length of each step, as a share of ε; 2.5 / steps by default.
        shift: how many classes further the target is; by default 3, or 1 if 3 leads back to the class
            itself.
    """

    surrogate_epochs: int = 40
    steps: int = 250
    step_size: float | None = None
    shift: int | None = None
    _shift: int = field(default=3, init=False, repr=False, compare=False)
    _classes: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        size = 1.0 if self.step_size is None else self.step_size
        check_steps(self.steps, size)
        check_steps(self.surrogate_epochs, called="surrogate_epochs")
        if self.shift is not None and self.shift < 1:
            raise ValueError(f"shift must be at least 1, not {self.shift}")

    def course(self, ground: Ground) -> Course:
        """Return the surrogate's epochs, one step each, and the crafting as the last step.

        Raises:
            ValueError: the shift leads back to each example's own class.
        """
        self._classes = ground.classes
        self._shift = self.shift or (1 if 3 % ground.classes == 0 else 3)
        if self._shift % ground.classes == 0:
            raise ValueError(
                f"shift {self._shift} leads back to each class itself; it must not be a multiple of the "
                f"{ground.classes} classes"
            )
        table, surrogate, trainer, parts = self.prepared(ground)
        inputs, labels = ground.train()

        def step(number: int) -> float:
            if number < self.surrogate_epochs:
                return train_epoch(surrogate, trainer, inputs, labels, ground.batch_size)
            self.craft_all(table, surrogate, ground)
            return 0.0

        return Course(repr(self), parts, self.surrogate_epochs + 1, step)

    def craft(
        self, surrogate: nn.Module, inputs: Tensor, labels: Tensor, start: Tensor, budget: Budget
    ) -> Tensor:
        """Return perturbations towards the target class."""
        return error_minimizing(
            surrogate,
            inputs,
            (labels + self._shift) % self._classes,
            budget=budget,
            steps=self.steps,
            step_size=2.5 / self.steps if self.step_size is None else self.step_size,
            start=start,
        )
