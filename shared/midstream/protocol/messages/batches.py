"""The answer to a batch."""

from pydantic import ConfigDict, Field

from midstream.protocol.messages.message import Message


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
