"""A run's history: one record per step, and the predictions for pictured examples."""

from pydantic import ConfigDict, Field

from midstream.protocol.messages.message import Message

CONVERSION = "Share of the other classes' test inputs predicted as the target class; null without a target."
EVASION = "Share of the target class's test inputs predicted as another class; null without a target."


class Record(Message):
    """One step. Accuracies, evaluation losses and rates are null if the step was not evaluated."""

    step: int = Field(description="Steps taken, this one included; the version of the parameters after it.")
    epoch: int = Field(description="The step's epoch, from 0.")
    examples: int | None = Field(
        None, description="Number of examples that arrived; null in runs of earlier versions."
    )
    loss: float = Field(description="Mean training loss before the step, in nats per example.")
    correction: float = Field(description="Mean distance the defender moved an input, in pixel units.")
    seconds: float = Field(description="Time spent on the defence and the step, in seconds.")
    attacker: dict[str, float] | None = Field(description="Values that the attacker reported.")
    defender: dict[str, float] | None = Field(description="Values that the defender reported.")
    checker: dict[str, float] | None = Field(
        None,
        description="The batch's suspicion, the numbers of examples flagged and dropped, whether the batch "
        "raised an alarm (1 or 0), and values that the checker reported; null without a checker.",
    )
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
