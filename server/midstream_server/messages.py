"""The JSON that the server answers with, as documented on its OpenAPI page."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from midstream.specification import Specification
from midstream.tokens import Role

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
    "loss": 1.9,
    "test_accuracy": 0.41,
    "test_loss": 2.1,
    "validation_accuracy": 0.42,
    "validation_loss": 2.1,
    "conversion_rate": 0.13,
    "evasion_rate": 0.42,
    "steps_per_second": 40.0,
    "seconds_left": 14.7,
    "samples": [0, 10],
    "result": None,
    "specification": Specification.model_validate({"dataset": "digits", "target": 3}).model_dump(),
}


CONVERSION = "Share of the test inputs of other classes predicted as the target; null without a target."
EVASION = "Share of the test inputs of the target class predicted as another; null without a target."


class Message(BaseModel):
    """A JSON object that travels."""

    model_config = ConfigDict(protected_namespaces=())


class ProblemBody(Message):
    """An error (RFC 9457): a title and a sentence that a person can act on."""

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

    title: str
    status: int
    detail: str


class Acknowledgement(Message):
    """The answer to a batch, which is the credit for the next one."""

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

    seq: int = Field(description="The batch this answers.")
    next_seq: int = Field(description="The batch the server takes next.")
    parameters_version: int = Field(description="The version of the parameters after the step.")
    loss: float = Field(description="Mean training loss before the step, nats an example.")
    replay: bool = Field(description="Whether the batch had been trained on before; it was not again.")
    kept_from: int = Field(description="No batch before this one will ever be asked for again.")


class Result(Message):
    """How a finished run ended."""

    run: str
    dataset: str
    defender: str
    seed: int
    steps: int
    epochs: int
    test_accuracy: float
    validation_loss: float
    conversion_rate: float | None
    evasion_rate: float | None
    parameters_sha256: str
    seconds: float


class Status(Message):
    """Where a run stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_STATUS]})

    name: str
    id: str = Field(description="Tells the run from another of the same name.")
    state: Literal["waiting", "running", "paused", "finished", "stopped", "failed"]
    reason: str | None = Field(description="Why it stopped or failed.")
    waiting_for: str | None
    step: int = Field(description="Steps taken: the version of the live parameters, and the next batch.")
    total_steps: int
    epoch: int
    steps_per_epoch: int
    train_size: int
    loss: float | None = Field(description="Mean training loss of the last step, nats an example.")
    test_accuracy: float | None = Field(description="Of the last evaluation, in [0, 1].")
    test_loss: float | None
    validation_accuracy: float | None
    validation_loss: float | None
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    steps_per_second: float | None
    seconds_left: float | None
    samples: list[int] = Field(description="Batches that /samples/{seq} has pictures of.")
    result: Result | None
    specification: Specification


class Runs(Message):
    """Every run of the server."""

    runs: list[Status]


class ModelDescription(Message):
    """Enough to rebuild the model and the loss."""

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
                }
            ]
        }
    )

    model: str
    input_shape: list[int]
    classes: list[str]
    loss: Literal["cross-entropy"]
    reduction: Literal["sum"]
    optimizer: str
    learning_rate: float


class Record(Message):
    """One step. All behind `seconds` are null where the parameters after it were not evaluated."""

    step: int
    epoch: int
    loss: float
    correction: float = Field(description="Mean distance the defender moved an input, in pixel units.")
    seconds: float = Field(description="Time the defence and the step took.")
    attacker: dict[str, float] | None = Field(description="What the attacker reports of its move.")
    defender: dict[str, float] | None = Field(description="What the defender reports of its move.")
    test_accuracy: float | None
    test_loss: float | None
    validation_accuracy: float | None
    validation_loss: float | None
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)


class RunRecord(Record):
    """One step, and whose it is."""

    run: str


COLUMNS = tuple(Record.model_fields)
"""The names of a record's fields, in order."""


class Metrics(Message):
    """A run's history: one record a step, or those that were asked for."""

    run: str
    records: list[Record]


class Predictions(Message):
    """What the model takes the examples of a picture for, row by row: classes, as indices."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 1, "labels": [3], "received": [8], "defended": [3]}]}
    )

    version: int = Field(description="The parameters that predicted: those after the batch's step.")
    labels: list[int]
    received: list[int] = Field(description="As what x' is taken, the input as it arrived.")
    defended: list[int] = Field(description="As what x'' is taken, the input as trained on.")


class Health(Message):
    """Whether the server lives, and what it waits for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "waiting_for": None}]})

    status: Literal["live", "ready", "waiting"]
    waiting_for: str | None


class Asked(Message):
    """Who asks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "provider"}]})

    role: Role = Field(description="Each role may do what those before it may.")


class Checkpoint(Message):
    """Where a checkpoint was written."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"step": 120, "file": "runs/digits-1/checkpoint.safetensors"}]}
    )

    step: int
    file: str
