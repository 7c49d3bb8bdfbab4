"""JSON objects that carry a digest of themselves, so that a reader detects changes."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from midstream.errors import MidstreamError

_SEAL = "sha256"


class BrokenSealError(MidstreamError, ValueError):
    """A sealed object was changed, or an object carries no seal."""


def digest(content: object) -> str:
    """Return the SHA-256 of a JSON value; layout and key order do not affect it.

    >>> digest({"a": 1, "b": 2.0}) == digest({"b": 2.0, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """Return an object with its digest added as the member `sha256`.

    >>> unsealed(sealed({"steps": 6}))
    {'steps': 6}
    """
    return {**content, _SEAL: digest(dict(content))}


def unsealed(content: object) -> dict[str, Any]:
    """Verify a sealed object and return it without its seal.

    Raises:
        BrokenSealError: the object carries no digest, or its digest differs.
    """
    if not isinstance(content, dict) or _SEAL not in content:
        raise BrokenSealError("it has no digest of itself")
    original = {name: value for name, value in content.items() if name != _SEAL}
    if content[_SEAL] != digest(original):
        raise BrokenSealError("its digest does not match its content")
    return original
