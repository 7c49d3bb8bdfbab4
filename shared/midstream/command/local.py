"""A game in one process: the same attacker, defender and batches as over HTTP, to the same bits."""

from typing import Any

from torch import Tensor

from midstream.batches import BatchSource, load_split
from midstream.command.game import Follow, GamePlan
from midstream.datasets import Source
from midstream.environment import configure
from midstream.gradients import Gradient
from midstream.runfolder import RunFolder
from midstream.specification import Specification
from midstream.training_step import TrainingStep
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_server.checks import check_batch
from midstream_server.record import RecordedRun
from midstream_server.training import TrainingRun


class LocalGame:
    """What an attacker reads of a run in the same process."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run

    def specification(self) -> Specification:
        """Return what is trained."""
        return self._run.specification

    def model(self) -> dict[str, Any]:
        """Return the architecture and the loss."""
        return self._run.description()

    def validation(self) -> dict[str, Tensor]:
        """Return the public Dval."""
        return {"inputs": self._run.validation.inputs, "labels": self._run.validation.labels}

    def parameters(self, version: int) -> dict[str, Tensor]:
        """Return θ, which is always at the version asked for."""
        assert version == self._run.step
        return self._run.parameters()

    def validation_gradient(self, version: int) -> Gradient:
        """Return v at the live parameters."""
        assert version == self._run.step
        return self._run.validation_gradient()

    def training_step(self, version: int) -> TrainingStep:
        """Return the live optimizer."""
        assert version == self._run.step
        return self._run.training_step()


def play_local(plan: GamePlan, follow: Follow) -> dict[str, Any]:
    """Play a game in this process; return the run's result."""
    device = configure(threads=plan.threads, device=plan.device)
    specification = plan.specification
    source = Source(plan.data_root, plan.download)
    split = load_split(specification, source)
    run = TrainingRun(specification, split, device=device)
    settings = AttackSettings(
        plan.attacker,
        plan.attack_budget.epsilon,
        plan.attack_budget.norm,
        plan.gradient,
        device,
        allowed=None,
        source=source,
    )
    attacked = None if plan.attacker == "none" else AttackedRun(LocalGame(run), settings)
    batches = BatchSource(specification, split.train)
    folder = RunFolder(plan.folder)
    try:
        recorded = RecordedRun(run, folder)
        for seq in range(run.total_steps):
            batch = batches.batch(seq)
            if attacked is not None:
                batch = attacked.attack(batch)
            recorded.train(
                check_batch(
                    batch,
                    seq=seq,
                    length=specification.batch_length(seq, run.train_size),
                    input_shape=run.input_shape,
                    classes=len(run.classes),
                ),
                batch.report,
            )
            follow(seq + 1, run.total_steps, describe(recorded.settle(), recorded))
    finally:
        folder.close()
    assert recorded.result is not None
    return recorded.result


def describe(record: dict[str, Any], recorded: RecordedRun) -> str:
    """Return a few words on how a run stands."""
    accuracy = f", test accuracy {recorded.evaluation.test_accuracy:.3f}" if recorded.evaluation else ""
    return f"epoch {record['epoch'] + 1}, loss {record['loss']:.3f}{accuracy}"
