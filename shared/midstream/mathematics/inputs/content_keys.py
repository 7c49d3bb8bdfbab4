"""Recognises an input by its content."""

from hashlib import blake2b

from torch import Tensor

KEY_BYTES = 16
"""Length of a content key."""


def content_keys(inputs: Tensor) -> list[bytes]:
    """Return a content key of each example: a digest of its values, `KEY_BYTES` long."""
    rows = inputs.detach().flatten(1).contiguous().cpu().numpy()
    return [blake2b(row.data, digest_size=KEY_BYTES).digest() for row in rows]
