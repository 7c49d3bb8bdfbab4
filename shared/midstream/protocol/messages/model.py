"""The description of a run's model."""

from typing import Literal

from pydantic import ConfigDict, Field

from midstream.mathematics.derivatives.orders import Order
from midstream.protocol.messages.message import Message
from midstream.tasks.task import Kind


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
                    "total_steps": 600,
                    "steps_per_epoch": 10,
                    "unmodelled": None,
                    "chunk_size": None,
                    "derivatives": "reverse-over-forward",
                }
            ]
        }
    )

    model: str = Field(description="The model's name, with options.")
    input_shape: list[int] = Field(description="Shape of one input.")
    classes: list[str] = Field(description="Names of the classes, targets or labels, one for each output.")
    loss: str = Field(description="The training loss, with options.")
    task: Kind = Field("classification", description="What the outputs and the targets are.")
    scale: tuple[float, ...] | None = Field(
        None,
        description="The unit in which a budget measures each column, the last dimension of an input; a "
        "column of 0 may not move. null for 1 everywhere.",
    )
    reduction: Literal["sum"] = Field(description="How the loss is reduced over a batch.")
    optimizer: str = Field(description="The training optimizer, with options.")
    learning_rate: float = Field(
        description="The learning rate η, which the schedule of the specification multiplies."
    )
    total_steps: int | None = Field(
        None, description="Minibatches of the whole run, which a schedule of the learning rate needs."
    )
    steps_per_epoch: int | None = Field(None, description="Minibatches per epoch.")
    unmodelled: str | None = Field(
        None, description="Why no exact utility goes through the training step; null if one does."
    )
    chunk_size: int | None = Field(
        None,
        description="Examples that the server differentiates at a time; the low bits of derivatives depend "
        "on it. null: 500 if an input has at most 1,024 values, otherwise 250.",
    )
    derivatives: Order = Field(
        description="The order in which second derivatives are computed; their low bits depend on it."
    )
