"""The JSON bodies of the server's responses, as documented on its OpenAPI page."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from midstream.mathematics.derivatives.orders import Order
from midstream.protocol.specification import Specification
from midstream.protocol.tokens import Role

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
    "passed_clean": {"attacker": 0, "defender": 0},
    "resumed_anyway": {"attacker": 0},
    "steps_per_second": 40.0,
    "seconds_left": 14.7,
    "samples": [0, 10],
    "result": None,
    "specification": Specification.model_validate({"dataset": "digits", "target": 3}).model_dump(),
}


CONVERSION = "Share of the other classes' test inputs predicted as the target class; null without a target."
EVASION = "Share of the target class's test inputs predicted as another class; null without a target."
PASSED_CLEAN = "Number of batches passed on unchanged because a player failed."
RESUMED_ANYWAY = "Number of times a player was resumed although its memory did not match the run."


class Message(BaseModel):
    """Base class of the JSON objects in the server's responses."""

    model_config = ConfigDict(protected_namespaces=())


class ProblemBody(Message):
    """An error (RFC 9457): a title, and a sentence that says what to do."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "title": "Batches are missing",
                    "status": 409,
                    "detail": "batch 7 came, batch 5 is next in run 'digits-1'",
                    "next_seq": 5,
                }
            ]
        },
    )

    title: str = Field(description="What went wrong, in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What exactly was wrong, with the value, and what to do.")


class Acknowledgement(Message):
    """The response to a batch. The provider waits for it before it sends the next batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "seq": 4,
                    "next_seq": 5,
                    "parameters_version": 5,
                    "loss": 2.1,
                    "replay": False,
                    "kept_from": 0,
                }
            ]
        }
    )

    seq: int = Field(description="The batch that this acknowledges.")
    next_seq: int = Field(description="The batch that the server expects next.")
    parameters_version: int = Field(description="The version of the parameters after the step.")
    loss: float = Field(description="Mean training loss before the step, in nats per example.")
    replay: bool = Field(
        description="Whether the server had already trained on this batch; if so, it did not train again."
    )
    kept_from: int = Field(description="The server will never ask again for a batch before this one.")


class PassedClean(Message):
    """Number of batches passed on unchanged because a player failed, under `on_error` `pass-clean`."""

    attacker: int = Field(description="Batches that the proxy forwarded unattacked, as its reports say.")
    defender: int = Field(description="Batches that the server trained on undefended.")


class ResumedAnyway(Message):
    """Number of times that `--resume-anyway` resumed a player whose memory did not match the run."""

    attacker: int = Field(description="Times the attacker was resumed, as its reports say.")


class Result(Message):
    """The result of a finished run."""

    run: str = Field(description="The run's name.")
    dataset: str = Field(description="Its data set.")
    defender: str = Field(description="Its defender, with options.")
    seed: int = Field(description="Its seed.")
    steps: int = Field(description="Steps taken.")
    epochs: int = Field(description="Epochs played.")
    test_accuracy: float = Field(description="At the final parameters, in [0, 1].")
    validation_loss: float = Field(description="At the final parameters, in nats per example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    passed_clean: PassedClean = Field(description=PASSED_CLEAN)
    resumed_anyway: ResumedAnyway = Field(description=RESUMED_ANYWAY)
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
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    passed_clean: PassedClean = Field(description=PASSED_CLEAN)
    resumed_anyway: ResumedAnyway = Field(description=RESUMED_ANYWAY)
    steps_per_second: float | None = Field(description="Rate over the most recent steps.")
    seconds_left: float | None = Field(description="Estimated time left at that rate.")
    samples: list[int] = Field(description="Batches with pictures at /samples/{seq}.")
    result: Result | None = Field(description="The run's result; null until it finishes.")
    specification: Specification = Field(
        description="The run's specification; the model of a black-box run is hidden."
    )


class Runs(Message):
    """Every run of the server."""

    runs: list[Status] = Field(description="Each run's status.")


class ModelDescription(Message):
    """All that a client needs to rebuild the model and the loss."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "mnist-cnn",
                    "input_shape": [1, 28, 28],
                    "classes": ["0", "1"],
                    "loss": "cross-entropy",
                    "reduction": "sum",
                    "optimizer": "adam",
                    "learning_rate": 0.0008,
                    "derivatives": "reverse-over-forward",
                }
            ]
        }
    )

    model: str = Field(description="The model's name, with options.")
    input_shape: list[int] = Field(description="Shape of one input.")
    classes: list[str] = Field(description="Names of the classes, in the order of the logits.")
    loss: Literal["cross-entropy"] = Field(description="The training loss.")
    reduction: Literal["sum"] = Field(description="How the loss is reduced over a batch.")
    optimizer: str = Field(description="The training optimizer.")
    learning_rate: float = Field(description="The learning rate η.")
    derivatives: Order = Field(
        description="The order in which second derivatives are computed; their low bits depend on it."
    )


class Record(Message):
    """One step. Accuracies, evaluation losses and rates are null if the step was not evaluated."""

    step: int = Field(description="Steps taken, this one included; the version of the parameters after it.")
    epoch: int = Field(description="The step's epoch, from 0.")
    loss: float = Field(description="Mean training loss before the step, in nats per example.")
    correction: float = Field(description="Mean distance the defender moved an input, in pixel units.")
    seconds: float = Field(description="Time spent on the defence and the step, in seconds.")
    attacker: dict[str, float] | None = Field(description="Values that the attacker reported.")
    defender: dict[str, float] | None = Field(description="Values that the defender reported.")
    test_accuracy: float | None = Field(description="In [0, 1].")
    test_loss: float | None = Field(description="In nats per example.")
    validation_accuracy: float | None = Field(description="In [0, 1].")
    validation_loss: float | None = Field(description="In nats per example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)


class RunRecord(Record):
    """One step, with the name of its run."""

    run: str = Field(description="The run's name.")


COLUMNS = tuple(Record.model_fields)
"""The names of a record's fields, in order."""


class Metrics(Message):
    """A run's history: one record per step, or the requested subset."""

    run: str = Field(description="The run's name.")
    records: list[Record] = Field(description="The records, in the order of the steps.")


class Predictions(Message):
    """The model's predictions for the examples of a picture, row by row, as class indices."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 1, "labels": [3], "received": [8], "defended": [3]}]}
    )

    version: int = Field(description="Version of the predicting parameters: after the batch's step.")
    labels: list[int] = Field(description="The true classes.")
    received: list[int] = Field(description="Predictions for x', the inputs as they arrived.")
    defended: list[int] = Field(description="Predictions for x'', the inputs as trained on.")


class Health(Message):
    """Whether the server is alive and ready, and what it waits for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "waiting_for": None}]})

    status: Literal["live", "ready", "waiting"] = Field(
        description="live: the process responds; ready: the server takes requests."
    )
    waiting_for: str | None = Field(description="What the server waits for; null for nothing.")


class Asked(Message):
    """The role of the request's token."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "provider"}]})

    role: Role = Field(description="Each role includes the roles before it.")


class Checkpoint(Message):
    """A checkpoint that was written."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"step": 120, "file": "runs/digits-1/checkpoint.safetensors"}]}
    )

    step: int = Field(description="The version of the parameters in the checkpoint.")
    file: str = Field(description="The path of the file on the server.")
