"""What a server says of itself, and the body of its errors."""

from typing import Literal

from pydantic import ConfigDict, Field

from midstream.protocol.messages.message import Message
from midstream.protocol.tokens import Role


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
