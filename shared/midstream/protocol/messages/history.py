"""A run's history: one record per step, and the predictions for pictured examples."""

from pydantic import ConfigDict, Field

from midstream.protocol.messages.message import Message

CONVERSION = "Share of the other classes' test inputs predicted as the target class; null without a target."
EVASION = "Share of the target class's test inputs predicted as another class; null without a target."


MEASURES = (
    "Measures of another task than classification, such as test_r2, test_rmse and validation_r2; null for "
    "classification."
)


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
    test_accuracy: float | None = Field(description="In [0, 1]; null if the task is not classification.")
    test_loss: float | None = Field(description="In nats per example.")
    validation_accuracy: float | None = Field(description="In [0, 1]; likewise.")
    validation_loss: float | None = Field(description="In nats per example.")
    conversion_rate: float | None = Field(description=CONVERSION)
    evasion_rate: float | None = Field(description=EVASION)
    measures: dict[str, float] | None = Field(None, description=MEASURES)


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


class Mistakes(Message):
    """What the model takes the test images for, at the last evaluation. Classes are indices."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "step": 120,
                    "total": 3,
                    "wrong": 1,
                    "classes": ["0", "1"],
                    "confusion": [[1, 1], [0, 1]],
                    "pairs": [[0, 1, 1]],
                    "labels": [0],
                    "predicted": [1],
                    "picture": None,
                }
            ]
        }
    )

    step: int = Field(description="Steps taken; the version of the predicting parameters.")
    total: int = Field(description="Number of test inputs.")
    wrong: int = Field(description="Number of those taken for another class.")
    classes: list[str] = Field(description="The names of the classes.")
    confusion: list[list[int]] | None = Field(
        description="Confusion matrix: a row per true class, a column per predicted one; null if there are "
        "more than 20 classes."
    )
    pairs: list[list[int]] = Field(
        description="The ten most frequent mistakes: the true class, the predicted one, and how often."
    )
    labels: list[int] = Field(description="The true classes of a few inputs that the model failed at.")
    predicted: list[int] = Field(description="What the model took them for.")
    picture: str | None = Field(
        description="Those inputs side by side, as a PNG in base64; null if they are no images, or none."
    )
