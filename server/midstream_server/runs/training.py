"""One training run: its model, its defender, and the step."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from midstream import plugins
from midstream.defences.levels import NoDefense
from midstream.mathematics.loss import cross_entropy
from midstream.mathematics.pixels import pixels
from midstream.players.checks import Checks
from midstream.players.combination import Combination
from midstream.players.course import Ground
from midstream.players.interface import Augmenting, AugmentingRehearsal, Batch, Player, Rehearsing, View
from midstream.players.referee import PlayerError, move, pass_clean, restore, state_of
from midstream.players.reporting import Say, Tell
from midstream.players.trained_on import augmented, augmented_rehearsal, rehearsed
from midstream.protocol.specification import Specification
from midstream.run.augmentation import Augmentation
from midstream.run.batch_norm import refuse_wrong_player
from midstream.run.datasets import Split
from midstream.run.prepared import must_learn, prepare
from midstream.run.training import DivergedError, Training
from midstream_server.runs.evaluation import Evaluation, evaluate


@dataclass(frozen=True)
class Step:
    """The outcome of one step.

    Attributes:
        step: steps taken so far, this one included; also the version of the parameters after it.
        loss: mean training loss at the parameters before the step, in nats per example, of the batch that the
            step was taken on: the defended batch, or an augmentation of it.
        correction: mean distance the defender moved an input, `‖x'' - x'‖`, in pixel units.
        seconds: time spent on the defence and the step.
        received: the inputs as they arrived, on the run's device.
        defended: the same inputs after the defence, and before an augmentation after it.
        labels: their labels.
        reported: values that the defender reported, by name.
    """

    step: int
    loss: float
    correction: float
    seconds: float
    received: Tensor
    defended: Tensor
    labels: Tensor
    reported: dict[str, float]


class TrainingRun(Training):
    """A model in training, defended and evaluated.

    Args:
        specification: the run's settings.
        split: the data; only the size of the training part is used, since its examples arrive in batches.
        device: where to compute.
        allowed: the dotted paths and files that the specification may name; None allows all.
        defender: the defender itself; None makes the one that the specification names.

    Raises:
        ValueError: the specification does not match the data, or accumulation does not match the defender.
        midstream.plugins.PluginError: there is no such model, optimizer, augmentation or defender, or the
            defender is wrong for the model.
        midstream.DerivativeError: no order of differentiation gives correct derivatives of the model.
    """

    def __init__(
        self,
        specification: Specification,
        split: Split,
        *,
        device: torch.device,
        allowed: Collection[str] | None = None,
        defender: Player | None = None,
    ) -> None:
        if specification.target is not None and specification.target >= len(split.classes):
            raise ValueError(
                f"target is class {specification.target}, but {specification.dataset!r} has the classes 0 to "
                f"{len(split.classes) - 1}; name one of them, or leave it out"
            )
        super().__init__(specification, split, device=device, allowed=allowed)
        self.defender: Player = defender or plugins.make("defenders", specification.defender, allowed=allowed)
        refuse_wrong_player("defender", specification.defender, self.defender, self.model)
        if (specification.accumulate or 1) > 1 and _rehearses(self.defender):
            raise ValueError(
                f"defender {specification.defender!r} has the run step on further batches after each one, "
                f"and accumulate {specification.accumulate} has it step on several together; leave one out"
            )
        self.prepared = not must_learn(self.defender)
        """Whether the defender's pretraining is complete."""
        self._augmentation = Augmentation(specification, self.input_shape)
        self._last: Evaluation | None = None
        self._test = (split.test.inputs.to(device), split.test.labels.to(device))

    def prepare(
        self, *, cache: Path | None = None, tell: Tell = lambda *_: None, say: Say = lambda _: None
    ) -> None:
        """Pretrain the defender if it needs it; see `midstream.run.prepared.prepare`.

        Raises:
            midstream.run.prepared.LearningError: the pretraining failed.
        """
        if self.prepared:
            return
        specification = self.specification
        ground = Ground(
            validation_inputs=pixels(self.validation_here[0]),
            validation_labels=self.validation_here[1],
            classes=len(self.classes),
            budget=specification.budget,
            learning_rate=specification.learning_rate,
            batch_size=specification.batch_size,
            seed=specification.seed,
            role="defender",
            model_source=self.another_model,
        )
        prepare(
            specification.defender, self.defender, ground, run=specification, cache=cache, tell=tell, say=say
        )
        self.prepared = True

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of `Training.state_dict` and the defender's memory, as `defender.NAME`."""
        memory = state_of(self.defender)
        return super().state_dict() | {f"defender.{name}": value.clone() for name, value in memory.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], *, step: int) -> None:
        """Restore a state that `state_dict` returned in a run of the same specification."""
        memory = {name[9:]: value for name, value in state.items() if name.startswith("defender.")}
        super().load_state_dict(state, step=step)
        self._last = None
        restore(self.defender, memory)

    def view(self) -> View:
        """Return what the defender sees before the next step."""
        return View(
            model=self.model,
            parameters_version=self.step,
            loss=cross_entropy,
            learning_rate=self.learning_rate,
            validation_inputs=self.validation_here[0],
            validation_labels=self.validation_here[1],
            budget=self.specification.budget,
            seed=self.specification.seed,
            role="defender",
            gradient_source=self.validation_gradient,
            step_source=self.training_step,
            classes=len(self.classes),
            steps_per_epoch=self.steps_per_epoch,
            batch_size=self.specification.batch_size,
            programs=self.programs,
        )

    def train(self, batch: Batch, *, stored: Callable[[], None] = lambda: None) -> Step:
        """Defend one batch, and step on it and on the batches that the defender rehearses; see `Training`.

        Args:
            batch: the minibatch.
            stored: returns once the batch is on disk, and raises if it cannot be stored. A defender moves
                after that; without one, only the gradient is computed before.

        Raises:
            midstream.players.referee.PlayerError: the defender broke its rules, and `on_error` is `stop`;
                nothing was changed.
            midstream.run.training.DivergedError: the loss is infinite or NaN; nothing was changed.
        """
        started = time.perf_counter()
        arrived = Batch(batch.seq, batch.inputs.to(self.device), batch.labels.to(self.device))
        batch = self._augmentation(arrived, "before")
        view, checks, stops = self.view(), Checks(), self.specification.on_error == "stop"
        if type(self.defender) is NoDefense:
            checks.wait_for(stored)
        else:
            stored()
        try:
            defended, trained_on, also = self._defend(batch, view, checks if stops else None)
        except PlayerError as error:
            if stops:
                raise
            pass_clean(view, error)
            defended, trained_on, also = batch.inputs, batch, []
        correction = None
        if defended is not batch.inputs:
            correction = checks.number(self.specification.budget.size(defended - batch.inputs).mean())
        loss = self._stepped(self._augmentation(trained_on, "after"), also, checks)
        return Step(
            step=self.step,
            loss=loss,
            correction=0.0 if correction is None else correction.value,
            seconds=time.perf_counter() - started,
            received=arrived.inputs,
            defended=defended,
            labels=batch.labels,
            reported=view.reports,
        )

    def _stepped(self, batch: Batch, rehearsed: list[Batch], checks: Checks) -> float:
        """Take the step if the checks hold; undo the run's last step if its losses are not finite."""
        if self.step + 1 < self.total_steps:
            return self.take_step_and_rehearse(batch, rehearsed, checks)
        before = {name: value.clone() for name, value in Training.state_dict(self).items()}
        loss = self.take_step_and_rehearse(batch, rehearsed, checks)
        self._last = found = self.evaluate()
        if not math.isfinite(found.validation_loss) or not math.isfinite(found.test_loss):
            Training.load_state_dict(self, before, step=self.step - 1)
            self._last = None
            raise DivergedError(
                f"the last step, on batch {batch.seq}, leaves a validation loss of {found.validation_loss} "
                f"and a test loss of {found.test_loss}"
            )
        return loss

    def _defend(self, batch: Batch, view: View, checks: Checks | None) -> tuple[Tensor, Batch, list[Batch]]:
        """Return the corrected inputs, the batch to train on, and the batches to rehearse."""
        name = self.specification.defender
        if type(self.defender) is NoDefense:
            return batch.inputs, batch, []
        # A defender that goes on from its corrected batch must not see one that breaks the rules.
        goes_on = isinstance(self.defender, (Augmenting, Rehearsing, AugmentingRehearsal))
        defended = move(name, self.defender, batch, view, checks=None if goes_on else checks)
        corrected = replace(batch, inputs=defended)
        trained_on = augmented(name, self.defender, corrected, view)
        also = rehearsed(name, self.defender, corrected, view)
        return defended, trained_on, augmented_rehearsal(name, self.defender, also, view)

    def evaluation_due(self) -> bool:
        """Return whether the current parameters are due for evaluation."""
        every = self.specification.evaluate_every or self.steps_per_epoch
        return self.step > 0 and (self.step % every == 0 or self.step == self.total_steps)

    def predict(self, inputs: Tensor) -> list[int]:
        """Return the live model's predicted class of each input."""
        with torch.no_grad():
            classes: list[int] = self.model(inputs.to(self.device)).argmax(1).tolist()
        return classes

    def evaluate(self) -> Evaluation:
        """Evaluate the model at the live parameters."""
        if self._last is not None and self._last.step == self.step:
            return self._last
        return evaluate(
            self.model,
            step=self.step,
            validation=self.validation_here,
            test=self._test,
            target=self.specification.target,
        )


def _rehearses(player: Player) -> bool:
    if isinstance(player, Combination):
        return any(map(_rehearses, player.parts))
    return isinstance(player, Rehearsing)
