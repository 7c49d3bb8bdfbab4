"""The JSON that the server answers with, as documented on its OpenAPI page."""

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


CONVERSION = "Share of the test inputs of other classes predicted as the target; null without a target."
EVASION = "Share of the test inputs of the target class predicted as another; null without a target."
PASSED_CLEAN = "How many batches went on although a player failed at them."
RESUMED_ANYWAY = "How often a side went on although what it remembered did not fit the run."


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

    title: str = Field(description="What went wrong, in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong, with the value, and what to do.")


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


class PassedClean(Message):
    """Batches that went on as they came although a player failed at them, as `on_error` asks."""

    attacker: int = Field(description="Unattacked, as the attacker's reports say.")
    defender: int = Field(description="Trained on as they arrived.")


class ResumedAnyway(Message):
    """Times that a side went on, as `--resume-anyway` asks, although its memory did not fit the run."""

    attacker: int = Field(description="As the attacker's reports say.")


class Result(Message):
    """How a finished run ended."""

    run: str = Field(description="The run's name.")
    dataset: str = Field(description="Its data set.")
    defender: str = Field(description="Its defender, with options.")
    seed: int = Field(description="Its seed.")
    steps: int = Field(description="Steps taken.")
    epochs: int = Field(description="Epochs played.")
    test_accuracy: float = Field(description="Of the last parameters, in [0, 1].")
    validation_loss: float = Field(description="Of the last parameters, nats an example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    passed_clean: PassedClean = Field(description=PASSED_CLEAN)
    resumed_anyway: ResumedAnyway = Field(description=RESUMED_ANYWAY)
    parameters_sha256: str = Field(description="Digest of the last parameters; equal bits, equal digest.")
    seconds: float = Field(description="Time that the run took.")
    files: dict[str, str] = Field(
        description="SHA-256 of the history: of the bytes of metrics.jsonl, of the content of the others."
    )
    sha256: str = Field(description="SHA-256 of the other members, as JSON without spaces, keys sorted.")


class Status(Message):
    """Where a run stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_STATUS]})

    name: str = Field(description="The run's name in every path.")
    id: str = Field(description="Tells the run from another of the same name.")
    state: Literal["waiting", "running", "paused", "finished", "stopped", "failed"] = Field(
        description="waiting for its first batch, running, paused, or over."
    )
    reason: str | None = Field(description="Why it stopped or failed.")
    waiting_for: str | None = Field(description="What must come next, and from whom.")
    step: int = Field(description="Steps taken: the version of the live parameters, and the next batch.")
    total_steps: int = Field(description="Steps of the whole run.")
    epoch: int = Field(description="Epochs that are complete.")
    steps_per_epoch: int = Field(description="Minibatches an epoch.")
    train_size: int = Field(description="Training examples that are streamed.")
    dataset_sha256: str | None = Field(
        description="Digest of the data set as the server has it, before it is split; see the protocol."
    )
    loss: float | None = Field(description="Mean training loss of the last step, nats an example.")
    test_accuracy: float | None = Field(description="Of the last evaluation, in [0, 1].")
    test_loss: float | None = Field(description="Of the last evaluation, nats an example.")
    validation_accuracy: float | None = Field(description="Of the last evaluation, in [0, 1].")
    validation_loss: float | None = Field(description="Of the last evaluation, nats an example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    passed_clean: PassedClean = Field(description=PASSED_CLEAN)
    resumed_anyway: ResumedAnyway = Field(description=RESUMED_ANYWAY)
    steps_per_second: float | None = Field(description="Of late.")
    seconds_left: float | None = Field(description="At that rate.")
    samples: list[int] = Field(description="Batches that /samples/{seq} has pictures of.")
    result: Result | None = Field(description="How it ended; null until it finished.")
    specification: Specification = Field(
        description="What the run is; of a black-box run, without its model."
    )


class Runs(Message):
    """Every run of the server."""

    runs: list[Status] = Field(description="Each run's status.")


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
                    "derivatives": "reverse-over-forward",
                }
            ]
        }
    )

    model: str = Field(description="The model's name, with options.")
    input_shape: list[int] = Field(description="Of one input.")
    classes: list[str] = Field(description="Their names, in the order of the logits.")
    loss: Literal["cross-entropy"] = Field(description="The training loss.")
    reduction: Literal["sum"] = Field(description="How it is taken over a batch.")
    optimizer: str = Field(description="The training optimizer.")
    learning_rate: float = Field(description="η.")
    derivatives: Order = Field(
        description="The order in which second derivatives are taken, which their low bits go by."
    )


class Record(Message):
    """One step. All behind `seconds` are null where the parameters after it were not evaluated."""

    step: int = Field(description="Steps taken with it: the version of the parameters after it.")
    epoch: int = Field(description="Its epoch, from 0.")
    loss: float = Field(description="Mean training loss before the step, nats an example.")
    correction: float = Field(description="Mean distance the defender moved an input, in pixel units.")
    seconds: float = Field(description="Time the defence and the step took.")
    attacker: dict[str, float] | None = Field(description="What the attacker reports of its move.")
    defender: dict[str, float] | None = Field(description="What the defender reports of its move.")
    test_accuracy: float | None = Field(description="In [0, 1].")
    test_loss: float | None = Field(description="Nats an example.")
    validation_accuracy: float | None = Field(description="In [0, 1].")
    validation_loss: float | None = Field(description="Nats an example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)


class RunRecord(Record):
    """One step, and whose it is."""

    run: str = Field(description="The run's name.")


COLUMNS = tuple(Record.model_fields)
"""The names of a record's fields, in order."""


class Metrics(Message):
    """A run's history: one record a step, or those that were asked for."""

    run: str = Field(description="The run's name.")
    records: list[Record] = Field(description="In the order of the steps.")


class Predictions(Message):
    """What the model takes the examples of a picture for, row by row: classes, as indices."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 1, "labels": [3], "received": [8], "defended": [3]}]}
    )

    version: int = Field(description="The parameters that predicted: those after the batch's step.")
    labels: list[int] = Field(description="The classes that they are.")
    received: list[int] = Field(description="As what x' is taken, the input as it arrived.")
    defended: list[int] = Field(description="As what x'' is taken, the input as trained on.")


class Health(Message):
    """Whether the server lives, and what it waits for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "waiting_for": None}]})

    status: Literal["live", "ready", "waiting"] = Field(
        description="Whether it is alive, and whether it takes requests."
    )
    waiting_for: str | None = Field(description="What would come next; null where nothing is waited for.")


class Asked(Message):
    """Who asks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "provider"}]})

    role: Role = Field(description="Each role may do what those before it may.")


class Checkpoint(Message):
    """Where a checkpoint was written."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"step": 120, "file": "runs/digits-1/checkpoint.safetensors"}]}
    )

    step: int = Field(description="The version of the parameters in it.")
    file: str = Field(description="Its path on the server.")
