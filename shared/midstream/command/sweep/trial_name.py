"""The name of a trial."""

from collections.abc import Mapping

from midstream.storage.seal import digest

_LETTERS = 16  # of the digest, which is 64 bits: enough for billions of trials


def trial_name(document: Mapping[str, object]) -> str:
    """Return the name of a trial: the first 16 hexadecimal digits of the SHA-256 of its canonical JSON.

    Args:
        document: everything that its result depends on.

    >>> trial_name({"attacker": "none"})
    '00805eaa34db63c7'
    """
    return digest(dict(document))[:_LETTERS]
