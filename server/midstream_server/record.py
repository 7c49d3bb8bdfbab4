"""A training run that keeps its history: metrics, samples, checkpoint and result."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from midstream.environment import describe
from midstream.players import Batch
from midstream.runfolder import RunFolder
from midstream.wire import encode_tensors, tensors_sha256
from midstream_server.evaluation import Evaluation
from midstream_server.messages import COLUMNS
from midstream_server.samples import sample_sheet
from midstream_server.training import Step, TrainingRun


class RecordedRun:
    """A training run and its run folder, played by one thread: `train`, then `settle`.

    Args:
        run: the training run, at step 0.
        folder: where its files go.
    """

    def __init__(self, run: TrainingRun, folder: RunFolder) -> None:
        self.run = run
        self.folder = folder
        self.records: list[dict[str, Any]] = []
        self.evaluation: Evaluation | None = None
        self.samples: list[int] = []
        self.result: dict[str, Any] | None = None
        self.started: float | None = None
        self._last: Step | None = None
        self._attacker_reported: dict[str, float] = {}
        folder.write_json("specification.json", run.specification.model_dump())
        folder.write_json("environment.json", describe(run.device))

    def train(self, batch: Batch, reported: Mapping[str, float]) -> Step:
        """Take one step; see `TrainingRun.train`.

        Args:
            batch: the minibatch.
            reported: numbers that the attacker wants in the metrics; the defender does not see them.
        """
        if self.started is None:
            self.started = time.time()
        self._last, self._attacker_reported = self.run.train(batch), dict(reported)
        return self._last

    def settle(self) -> dict[str, Any]:
        """Do what follows a step and need not delay its acknowledgement; return the step's record."""
        step = self._last
        assert step is not None, "settle follows train"
        record = dict.fromkeys(COLUMNS) | {
            "step": step.step,
            "epoch": (step.step - 1) // self.run.steps_per_epoch,
            "loss": step.loss,
            "correction": step.correction,
            "seconds": step.seconds,
            "attacker": self._attacker_reported or None,
            "defender": step.reported or None,
        }
        if self.run.evaluation_due():
            self.evaluation = self.run.evaluate()
            record |= asdict(self.evaluation)
        if (step.step - 1) % self.run.steps_per_epoch == 0 and step.received.dim() == 4:
            sheet = sample_sheet(step.received, step.defended)
            self.folder.write(f"samples/{step.step - 1:07d}.png", sheet)
            self.samples.append(step.step - 1)
        self.records.append(record)
        self.folder.append_metrics(record)
        if self.run.step == self.run.total_steps:
            self._finish()
        return record

    def checkpoint(self) -> str:
        """Write parameters and optimizer as one safetensors file, atomically; return its path."""
        metadata = {"step": str(self.run.step), "specification": self.run.specification.model_dump_json()}
        self.folder.write("checkpoint.safetensors", encode_tensors(self.run.state_dict(), **metadata))
        return str(self.folder.path / "checkpoint.safetensors")

    def _finish(self) -> None:
        assert self.evaluation is not None
        assert self.started is not None
        specification = self.run.specification
        self.result = {
            "run": specification.name,
            "dataset": specification.dataset,
            "defender": specification.defender,
            "seed": specification.seed,
            "steps": self.run.step,
            "epochs": -(-self.run.step // self.run.steps_per_epoch),
            "test_accuracy": self.evaluation.test_accuracy,
            "validation_loss": self.evaluation.validation_loss,
            "conversion_rate": self.evaluation.conversion_rate,
            "evasion_rate": self.evaluation.evasion_rate,
            "parameters_sha256": tensors_sha256(self.run.parameters()),
            "seconds": round(time.time() - self.started, 3),
        }
        self.checkpoint()
        self.folder.write_json("result.json", self.result)
