"""The status and the result of a run."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from midstream.protocol.messages.history import CONVERSION, EVASION, MEASURES
from midstream.protocol.messages.message import Message
from midstream.protocol.specification import Specification
from midstream.tasks.task import Kind

EXAMPLE_STATUS: dict[str, Any] = {
    "name": "digits-1",
    "id": "6c8b1f0e5a3d4b7f9e2d1c0a8b7f6e5d",
    "state": "running",
    "reason": None,
    "waiting_for": "batch 12 from a data provider",
    "step": 12,
    "total_steps": 600,
    "epoch": 1,
    "steps_per_epoch": 10,
    "train_size": 1000,
    "dataset_sha256": "870fc2a9d49a660c90773f61a8af5d22af2632b889ccbc85c694cd8e5341b58a",
    "loss": 1.9,
    "test_accuracy": 0.41,
    "test_loss": 2.1,
    "validation_accuracy": 0.42,
    "validation_loss": 2.1,
    "conversion_rate": 0.13,
    "evasion_rate": 0.42,
    "measures": None,
    "task": "classification",
    "passed_clean": {"attacker": 0, "defender": 0},
    "resumed_anyway": {"attacker": 0},
    "steps_per_second": 40.0,
    "seconds_left": 14.7,
    "attacker": "level-1 · ε 1.5 l2",
    "samples": [0, 10],
    "clean": False,
    "result": None,
    "specification": Specification.model_validate({"dataset": "digits", "target": 3}).model_dump(),
}

PASSED_CLEAN = "Number of batches passed on unchanged because a player failed."
RESUMED_ANYWAY = "Number of times a player was resumed although its memory did not match the run."


class Counts(Message):
    """Numbers of occurrences, one per side."""

    def by_side(self) -> dict[str, int]:
        """Return the numbers by side: `attacker`, and `defender` if the class has it."""
        return self.model_dump()


class PassedClean(Counts):
    """Number of batches passed on unchanged because a player failed, under `on_error` `pass-clean`."""

    attacker: int = Field(description="Batches that the proxy forwarded unattacked, as its reports say.")
    defender: int = Field(description="Batches that the server trained on undefended.")


class ResumedAnyway(Counts):
    """Number of times that `--resume-anyway` resumed a player whose memory did not match the run."""

    attacker: int = Field(description="Times the attacker was resumed, as its reports say.")


class CheckerCounts(Message):
    """What a run's checker did."""

    name: str = Field(description="Its name, with options.")
    flagged: int = Field(description="Number of suspicious examples, each counted at every visit.")
    dropped: int = Field(description="Number of them that were not trained on.")
    alarms: int = Field(description="Number of suspicious batches.")
    first_alarm: int | None = Field(description="The step of the first one; null if there was none.")


class Result(Message):
    """The result of a finished run."""

    run: str = Field(description="The run's name.")
    dataset: str = Field(description="Its data set.")
    defender: str = Field(description="Its defender, with options.")
    seed: int = Field(description="Its seed.")
    steps: int = Field(description="Steps taken.")
    epochs: int = Field(description="Epochs played.")
    test_accuracy: float | None = Field(
        description="At the final parameters, in [0, 1]; null if the task is not classification."
    )
    measures: dict[str, float] | None = Field(None, description=MEASURES)
    validation_loss: float = Field(description="At the final parameters, in nats per example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    passed_clean: PassedClean = Field(description=PASSED_CLEAN)
    resumed_anyway: ResumedAnyway = Field(description=RESUMED_ANYWAY)
    checker: CheckerCounts | None = Field(None, description="What the checker did; null without one.")
    parameters_sha256: str = Field(
        description="SHA-256 of the final parameters; equal digests mean equal bits."
    )
    seconds: float = Field(description="Duration of the run, in seconds.")
    files: dict[str, str] = Field(
        description="SHA-256 of each history file: for metrics.jsonl of its bytes, otherwise of its content."
    )
    sha256: str = Field(
        description="SHA-256 of the other members, written as JSON with sorted keys and without spaces."
    )


class Status(Message):
    """The status of a run."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_STATUS]})

    name: str = Field(description="The run's name, as used in paths.")
    id: str = Field(description="Unique identifier; distinguishes the run from others of the same name.")
    state: Literal["waiting", "running", "paused", "finished", "stopped", "failed"] = Field(
        description="waiting means: for its first batch; finished, stopped and failed are final."
    )
    reason: str | None = Field(description="Why the run stopped or failed.")
    waiting_for: str | None = Field(description="What the run waits for, and from whom.")
    step: int = Field(
        description="Steps taken; also the version of the live parameters and the number of the next batch."
    )
    total_steps: int = Field(description="Steps of the whole run.")
    epoch: int = Field(description="Epochs completed.")
    steps_per_epoch: int = Field(description="Minibatches per epoch.")
    train_size: int = Field(description="Training examples per epoch.")
    dataset_sha256: str | None = Field(
        description="Digest of the server's copy of the data set, before the split; see the protocol."
    )
    loss: float | None = Field(description="Mean training loss of the last step, in nats per example.")
    test_accuracy: float | None = Field(description="At the last evaluation, in [0, 1].")
    test_loss: float | None = Field(description="At the last evaluation, in nats per example.")
    validation_accuracy: float | None = Field(description="At the last evaluation, in [0, 1].")
    validation_loss: float | None = Field(description="At the last evaluation, in nats per example.")
    measures: dict[str, float] | None = Field(None, description=MEASURES)
    task: Kind = Field("classification", description="What the run learns.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    passed_clean: PassedClean = Field(description=PASSED_CLEAN)
    resumed_anyway: ResumedAnyway = Field(description=RESUMED_ANYWAY)
    steps_per_second: float | None = Field(description="Rate over the most recent steps.")
    seconds_left: float | None = Field(description="Estimated time left at that rate.")
    attacker: str | None = Field(
        description="The attacker, as its proxy announces it; null if no proxy does. Shown, and never used."
    )
    samples: list[int] = Field(description="Batches with pictures at /samples/{seq}.")
    clean: bool = Field(
        False, description="Whether /samples/{seq}/clean has clean examples: only if the operator shows them."
    )
    result: Result | None = Field(description="The run's result; null until it finishes.")
    specification: Specification = Field(
        description="The run's specification; the model of a black-box run is hidden."
    )


class Runs(Message):
    """Every run of the server."""

    runs: list[Status] = Field(description="Each run's status.")


class Checkpoint(Message):
    """A checkpoint that was written."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"step": 120, "file": "runs/digits-1/checkpoint.safetensors"}]}
    )

    step: int = Field(description="The version of the parameters in the checkpoint.")
    file: str = Field(description="The path of the file on the server.")
