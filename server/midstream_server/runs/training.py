"""One training run: its model, its defender, its checker, and the step."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from midstream import plugins
from midstream.defences.levels import NoDefense
from midstream.mathematics.loss import cross_entropy
from midstream.players.checking import Gate
from midstream.players.checks import Checks
from midstream.players.interface import Batch, Player, View
from midstream.players.referee import PlayerError
from midstream.players.remembering import restore_each, states_of
from midstream.players.reporting import Say, Tell
from midstream.protocol.specification import Specification
from midstream.run.augmentation import Augmentation
from midstream.run.datasets import Split
from midstream.run.pretrained.prepared import must_learn
from midstream.run.training import DivergedError, Training
from midstream_server.runs.defending import Moved, moved, passed_clean
from midstream_server.runs.evaluation import Evaluation, evaluate, loss_of
from midstream_server.runs.memories import Memories
from midstream_server.runs.misfits import refuse_defender, refuse_gate
from midstream_server.runs.pretraining import pretrain
from midstream_server.runs.step import Step


class TrainingRun(Training):
    """A model in training, defended and evaluated.

    Args:
        specification: the run's settings.
        split: the data; only the size of the training part is used, since its examples arrive in batches.
        device: where to compute.
        allowed: the dotted paths and files that the specification may name; None allows all.
        defender: the defender itself; None makes the one that the specification names.
        gate: the checker itself and its action; None makes the one that the specification names, if any.

    Raises:
        ValueError: the specification does not match the data, or accumulation does not match the defender.
        midstream.plugins.PluginError: there is no such model, optimizer, augmentation, defender or checker,
            or the defender is wrong for the model.
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
        gate: Gate | None = None,
    ) -> None:
        if specification.target is not None and specification.target >= len(split.classes):
            raise ValueError(
                f"target is class {specification.target}, but {specification.dataset!r} has the classes 0 to "
                f"{len(split.classes) - 1}; name one of them, or leave it out"
            )
        super().__init__(specification, split, device=device, allowed=allowed)
        self.defender: Player = defender or plugins.make("defenders", specification.defender, allowed=allowed)
        refuse_defender(self.defender, specification, self.model)
        if gate is None and specification.checker is not None:
            gate = plugins.make_gate(specification.checker, allowed=allowed)
        if gate is not None:
            refuse_gate(gate, self.defender, self.model, self.input_shape)
        self.gate = gate
        self.prepared = not must_learn(self.defender) and not must_learn(self.gate)
        """Whether the pretraining of the defender and the checker is complete."""
        self._augmentation = Augmentation(specification, self.input_shape)
        self._last: Evaluation | None = None
        self._test = (split.test.inputs.to(device), split.test.labels.to(device))

    def prepare(
        self, *, cache: Path | None = None, tell: Tell = lambda *_: None, say: Say = lambda _: None
    ) -> None:
        """Pretrain the defender and the checker if they need it; see `pretrain`.

        Raises:
            midstream.run.pretrained.prepared.LearningError: the pretraining failed.
        """
        if self.prepared:
            return
        pretrain(self, self.defender, self.gate, cache=cache, tell=tell, say=say)
        self.prepared = True

    def state_dict(self) -> dict[str, Tensor]:
        """Return `Training.state_dict`, and the players' memories as `defender.NAME` and `checker.NAME`."""
        memory = states_of(self._players())
        return super().state_dict() | {name: value.clone() for name, value in memory.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], *, step: int) -> None:
        """Restore a state that `state_dict` returned in a run of the same specification."""
        super().load_state_dict(state, step=step)
        self._last = None
        restore_each(self._players(), state)

    def _players(self) -> dict[str, object]:
        return {"defender": self.defender, "checker": self.gate}

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
        """Defend and check one batch, and step on it and on the batches that the defender rehearses.

        Args:
            batch: the minibatch.
            stored: returns once the batch is on disk, and raises if it cannot be stored. A defender and a
                checker move after that; without them, only the gradient is computed before.

        Raises:
            midstream.players.referee.PlayerError: the defender or the checker broke its rules, and `on_error`
                is `stop`; nothing was changed.
            midstream.players.checking.AlarmError: the checker stops the run; nothing was changed.
            midstream.run.training.DivergedError: the loss is infinite or NaN; nothing was changed.
        """
        started = time.perf_counter()
        arrived = Batch(batch.seq, batch.inputs.to(self.device), batch.labels.to(self.device))
        batch = self._augmentation(arrived, "before")
        view, checks, stops = self.view(), Checks(), self.specification.on_error == "stop"
        if type(self.defender) is NoDefense and self.gate is None:
            checks.wait_for(stored)
        else:
            stored()
        memories = Memories(self.defender, None if self.gate is None else self.gate.checker)
        try:
            try:
                found = self._moved(batch, view, checks if stops else None)
            except PlayerError as error:
                if stops:
                    raise
                memories.back()
                found = passed_clean(self.gate, batch, view, error)
            correction = None
            if found.defended is not batch.inputs:
                size = self.specification.budget.size(found.defended - batch.inputs)
                correction = checks.number(size.mean())
            nothing = not len(found.trained_on.labels)
            trained_on = batch if nothing else self._augmentation(found.trained_on, "after")
            loss = self._stepped(trained_on, found.rehearsed, checks, only=nothing)
        except Exception:
            memories.back()  # the batch may arrive again
            raise
        return Step(
            step=self.step,
            loss=loss,
            correction=0.0 if correction is None else correction.value,
            seconds=time.perf_counter() - started,
            received=arrived.inputs,
            defended=found.defended,
            labels=batch.labels,
            reported=view.reports,
            finding=found.finding,
        )

    def _moved(self, batch: Batch, view: View, checks: Checks | None) -> Moved:
        return moved(self.specification.defender, self.defender, self.gate, batch, view, checks=checks)

    def _stepped(self, batch: Batch, rehearsed: list[Batch], checks: Checks, *, only: bool) -> float:
        """Take the step if the checks hold; undo the run's last step if its losses are not finite.

        Args:
            batch: the batch to step on.
            rehearsed: the batches to rehearse after it.
            checks: conditions on the batch that are still to be read.
            only: whether only to count the step, because no example of the batch may be trained on.
        """
        if self.step + 1 < self.total_steps:
            return self._one_step(batch, rehearsed, checks, only)
        before = {name: value.clone() for name, value in Training.state_dict(self).items()}
        loss = self._one_step(batch, rehearsed, checks, only)
        self._last = found = self.evaluate()
        if not math.isfinite(found.validation_loss) or not math.isfinite(found.test_loss):
            Training.load_state_dict(self, before, step=self.step - 1)
            self._last = None
            raise DivergedError(
                f"the last step, on batch {batch.seq}, leaves a validation loss of {found.validation_loss} "
                f"and a test loss of {found.test_loss}"
            )
        return loss

    def _one_step(self, batch: Batch, rehearsed: list[Batch], checks: Checks, only: bool) -> float:
        if only:
            loss = loss_of(self.model, batch, checks)
            self.optimization.pass_by(self.step)  # the others of its group are still stepped on
            self.step += 1
            return loss
        return self.take_step_and_rehearse(batch, rehearsed, checks)

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
