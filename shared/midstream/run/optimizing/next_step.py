"""The learning rates of a run, and the step that its training takes next, on both sides of the game."""

from midstream.errors import MidstreamError
from midstream.mathematics.optimizers.around import Clipped, Scheduled
from midstream.mathematics.optimizers.schedules import Constant
from midstream.mathematics.optimizers.training_step import Grouped, TrainingStep
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.specification import Specification
from midstream.run.optimizing.optimizers import make_schedule


class UnmodelledStepError(MidstreamError, ValueError):
    """The training step has no differentiable model here, so that no exact utility goes through it."""


class NextStep:
    """What a run's schedule, clipping and accumulation make of the optimizer's steps.

    Args:
        specification: learning rate, schedule, clipping and accumulation.
        total_steps: the minibatches of the whole run.
        steps_per_epoch: the minibatches of an epoch.

    >>> settings = {"schedule": "step,every=2", "learning_rate": 0.5}
    >>> after = NextStep(Specification.model_validate(settings), total_steps=9, steps_per_epoch=1)
    >>> [after.rate(number) for number in range(4)]
    [0.5, 0.5, 0.05, 0.05]
    """

    def __init__(self, specification: Specification, *, total_steps: int, steps_per_epoch: int) -> None:
        self._learning_rate = specification.learning_rate
        self._schedule = make_schedule(specification.schedule)
        self._clip_norm = specification.clip_norm
        self.accumulate = specification.accumulate or 1
        """Minibatches whose gradients add up to one step of the optimizer."""
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch

    @classmethod
    def described(cls, specification: Specification, model: ModelDescription) -> "NextStep":
        """Return that of a run on another machine. An older server gives no length and has no schedules."""
        return cls(
            specification,
            total_steps=model.total_steps or 1,
            steps_per_epoch=model.steps_per_epoch or 1,
        )

    def rate(self, number: int) -> float:
        """Return η of the step on a minibatch, by its number; after the last one, that of the last one."""
        number = min(number, self.total_steps - 1)
        factor = self._schedule.factor(
            number // self.accumulate,
            steps=-(-self.total_steps // self.accumulate),
            epoch=number // self.steps_per_epoch,
        )
        return self._learning_rate * factor

    def is_due(self, number: int) -> bool:
        """Return whether the optimizer steps at a minibatch: at every k-th and at the last one."""
        return (number + 1) % self.accumulate == 0 or number + 1 == self.total_steps

    def around(self, step: TrainingStep, number: int) -> TrainingStep:
        """Return the whole next step, as the exact utility differentiates it.

        Args:
            step: the optimizer's own step, at the learning rate of this minibatch.
            number: the number of the minibatch.

        Raises:
            UnmodelledStepError: gradients of several minibatches add up.
        """
        if self.accumulate > 1:
            raise UnmodelledStepError(
                f"a step on the sum of {self.accumulate} minibatches' gradients is not modelled; the exact "
                f"utility needs accumulate 1"
            )
        if not isinstance(self._schedule, Constant):
            if isinstance(step, Grouped):
                raise UnmodelledStepError(
                    "a schedule of an optimizer with several parameter groups is not modelled"
                )
            step = Scheduled(step, self.rate, number)
        return step if self._clip_norm is None else Clipped(step, self._clip_norm)
