"""A training run that writes its history: metrics, samples, checkpoints and result."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from midstream.players.interface import Batch
from midstream.players.referee import PASSED_CLEAN
from midstream.players.remembering import RESUMED_ANYWAY
from midstream.protocol.messages.history import COLUMNS
from midstream.protocol.wire import tensors_sha256
from midstream.storage import faults
from midstream.storage.pictures import PICTURED, sample_sheet
from midstream.storage.run_folder import METRICS, MISTAKES, RunFolder, as_json, read_metrics
from midstream.storage.seal import sealed
from midstream_server.runs.evaluation import Evaluation
from midstream_server.runs.findings import Findings
from midstream_server.runs.mistakes import mistakes
from midstream_server.runs.recovery.checkpoint import ATTACKER, Checkpoint, write_checkpoint
from midstream_server.runs.recovery.provenance import Provenance
from midstream_server.runs.step import Step
from midstream_server.runs.training import TrainingRun


class RecordedRun:
    """A training run and its run folder. One thread calls `train`, then `settle`, for each step.

    Args:
        run: the training run, at step 0.
        folder: the run's folder.
        provenance: what the run was started with; None starts it here and now.
        attacker: returns the attacker's memory by name. Given only if the attacker plays in this process and
            its memory therefore belongs into the run's checkpoints.
    """

    def __init__(
        self,
        run: TrainingRun,
        folder: RunFolder,
        *,
        provenance: Provenance | None = None,
        attacker: Callable[[], Mapping[str, Tensor]] = dict,
    ) -> None:
        self.run = run
        self.folder = folder
        self.records: list[dict[str, Any]] = []
        self.evaluation: Evaluation | None = None
        self.samples: list[int] = []
        self.passed_clean = {"attacker": 0, "defender": 0}
        """Batches passed on unchanged because a player failed."""
        self.resumed_anyway = {"attacker": 0}
        """Times a player was resumed although its memory did not match this run and step."""
        self.result: dict[str, Any] | None = None
        self.provenance = provenance or Provenance.of(run)
        self.findings = Findings(folder.path, run.gate)
        """What the checker found."""
        self._attacker = attacker
        self._seconds_before = 0.0
        self._started: float | None = None
        self._unsettled: tuple[Step, Mapping[str, float]] | None = None
        if provenance is None:
            self.begin()

    def begin(self) -> None:
        """Write the run's provenance files to its folder."""
        for name, content in self.provenance.files().items():
            self.folder.write_json(name, content)

    @property
    def identity(self) -> str:
        """Unique identifier, which distinguishes the run from others of the same name."""
        return self.provenance.run

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Restore the state of a checkpoint, or of step 0, and delete all later records.

        The records up to the checkpoint must be present.
        """
        if checkpoint is None:
            self.folder.cut_metrics(0)
            self.findings.cut(0)
            return
        history = checkpoint.history
        self.folder.cut_metrics(history["metrics_bytes"])
        self.findings.cut(checkpoint.step)
        self.records = read_metrics(self.folder.path)
        for record in self.records:
            self._count(record)
        self.run.load_state_dict(checkpoint.tensors, step=checkpoint.step)
        self.samples = history["samples"]
        self.evaluation = Evaluation(**history["evaluation"]) if history["evaluation"] else None
        self._seconds_before = history["seconds"]

    def train(
        self, batch: Batch, reported: Mapping[str, float], *, stored: Callable[[], None] = lambda: None
    ) -> Step:
        """Take one step; see `TrainingRun.train`.

        Args:
            batch: the minibatch.
            reported: values that the attacker reported for the metrics; the defender does not see them.
            stored: returns once the batch is on disk.
        """
        if self._started is None:
            self._started = time.monotonic()
        step = self.run.train(batch, stored=stored)
        self.took(step, reported)
        return step

    def took(self, step: Step, reported: Mapping[str, float]) -> None:
        """Have `settle` record a step that the run has taken; arguments are those of `train`."""
        if self._started is None:
            self._started = time.monotonic() - step.seconds
        self._unsettled = step, dict(reported)

    def settle(self) -> None:
        """Do the work after a step that need not delay its acknowledgement; repeating it does no harm.

        Raises:
            OSError: a file could not be written; the next call tries again.
        """
        if self._unsettled is not None:
            self._record(*self._unsettled)
            self._unsettled = None
        if self.result is None and self.run.step == self.run.total_steps:
            self._finish()

    def _record(self, step: Step, reported: Mapping[str, float]) -> None:
        record = dict.fromkeys(COLUMNS) | {
            "step": step.step,
            "epoch": (step.step - 1) // self.run.steps_per_epoch,
            "examples": len(step.labels),
            "loss": step.loss,
            "correction": step.correction,
            "seconds": step.seconds,
            "attacker": reported or None,
            "defender": step.reported or None,
            "checker": self.findings.record(step),
        }
        evaluation = self.run.evaluate() if self.run.evaluation_due() else None
        if evaluation is not None:
            record |= asdict(evaluation)
            if self.run.predicted is not None:
                self._write_mistakes()
        seq = step.step - 1
        shown = self.run.task.classifies and step.received.dim() == 4
        pictured = shown and seq % self.run.steps_per_epoch == 0
        if pictured:
            received, defended, labels = (
                part[:PICTURED].cpu() for part in (step.received, step.defended, step.labels)
            )
            predicted = self.run.predict(received)
            unchanged = step.defended is step.received
            seen = {
                "version": step.step,
                "labels": labels.tolist(),
                "received": predicted,
                "defended": predicted if unchanged else self.run.predict(defended),
            }
            self.folder.write_sample(f"{seq:07d}.png", sample_sheet(received, defended))
            self.folder.write_sample(f"{seq:07d}.json", as_json(seen))
        self.folder.append_metrics(record)
        faults.reached("recorded")
        self.records.append(record)
        self._count(record)
        self.samples += [seq] * pictured
        self.evaluation = evaluation or self.evaluation

    def _write_mistakes(self) -> None:
        inputs, labels = self.run.test
        assert self.run.predicted is not None
        found = mistakes(
            self.run.step,
            classes=self.run.classes,
            inputs=inputs,
            labels=labels,
            predicted=self.run.predicted,
        )
        self.folder.write_sample(MISTAKES, found.model_dump_json().encode())

    def _count(self, record: dict[str, Any]) -> None:
        self.findings.count(record)
        for side in self.passed_clean:
            self.passed_clean[side] += PASSED_CLEAN in (record[side] or {})
        for side in self.resumed_anyway:
            self.resumed_anyway[side] += RESUMED_ANYWAY in (record[side] or {})

    def checkpoint(self) -> Path:
        """Write everything that a resume needs atomically to one safetensors file, and return its path.

        Raises:
            OSError: the file could not be written; the previous checkpoint is intact.
        """
        self.settle()
        return self._checkpoint()

    def _checkpoint(self) -> Path:
        self.folder.synchronise()
        self.findings.synchronise()
        history = {
            "metrics_bytes": self.folder.metrics_bytes,
            "metrics_sha256": self.folder.metrics_sha256,
            "samples": self.samples,
            "evaluation": asdict(self.evaluation) if self.evaluation else None,
            "seconds": self._seconds(),
        }
        memory = {f"{ATTACKER}{name}": value for name, value in self._attacker().items()}
        checkpoint = Checkpoint(self.provenance, self.run.step, history, self.run.state_dict() | memory)
        return write_checkpoint(self.folder.path, checkpoint)

    def _seconds(self) -> float:
        """Return how long the run has taken, by a monotonic clock."""
        here = 0.0 if self._started is None else time.monotonic() - self._started
        return self._seconds_before + here

    def _finish(self) -> None:
        assert self.evaluation is not None
        specification = self.run.specification
        result = {
            "run": specification.name,
            "dataset": specification.dataset,
            "defender": specification.defender,
            "seed": specification.seed,
            "steps": self.run.step,
            "epochs": -(-self.run.step // self.run.steps_per_epoch),
            "test_accuracy": self.evaluation.test_accuracy,
            "measures": self.evaluation.measures,
            "validation_loss": self.evaluation.validation_loss,
            "conversion_rate": self.evaluation.conversion_rate,
            "evasion_rate": self.evaluation.evasion_rate,
            "passed_clean": dict(self.passed_clean),
            "resumed_anyway": dict(self.resumed_anyway),
            "checker": self.findings.result(),
            "parameters_sha256": tensors_sha256(self.run.parameters()),
            "seconds": round(self._seconds(), 3),
            "files": {
                **self.provenance.digests(),
                METRICS: self.folder.metrics_sha256,
                **self.findings.digests(),
            },
        }
        self._checkpoint()
        whole = sealed(result)
        self.folder.write_json("result.json", whole)
        self.result = whole
