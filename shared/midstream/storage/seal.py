"""A JSON object with a digest over itself, so that whoever reads it later notices a change."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from midstream.errors import MidstreamError

_SEAL = "sha256"


class BrokenSealError(MidstreamError, ValueError):
    """An object that is not what was sealed."""


def digest(content: Any) -> str:
    """Return the SHA-256 of what a JSON value says, however it is laid out and its keys are ordered.

    >>> digest({"a": 1, "b": 2.0}) == digest({"b": 2.0, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with its digest as one more member, `sha256`.

    >>> unsealed(sealed({"steps": 6}))
    {'steps': 6}
    """
    return {**content, _SEAL: digest(dict(content))}


def unsealed(content: Any) -> dict[str, Any]:
    """Return what was sealed.

    Raises:
        BrokenSealError: it is something else.
    """
    if not isinstance(content, dict) or _SEAL not in content:
        raise BrokenSealError("it carries no digest of itself")
    kept = {name: value for name, value in content.items() if name != _SEAL}
    if content[_SEAL] != digest(kept):
        raise BrokenSealError("its digest differs from what it says")
    return kept
