"""The base class of all messages."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Base class of the JSON objects in the server's responses."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


def members(message: BaseModel) -> dict[str, object]:
    """Return a message's members, including those that only a newer version of midstream knows.

    >>> from midstream.protocol.messages.service import Asked
    >>> members(Asked.model_validate_json('{"role": "provider", "since": 3}', extra="allow"))
    {'role': 'provider', 'since': 3}
    """
    return {**message.model_dump(), **(message.model_extra or {})}
