"""How an attacker names itself to the people who watch a run.

A man in the middle of this testbed tells the server which attacker it plays, in a header of each batch. A
real one would not. The name is shown and never used: no step depends on it, and nobody vouches for it.
"""

from urllib.parse import quote, unquote

ANNOUNCEMENT = "Midstream-Attacker"
"""The header's name."""

_LONGEST = 200  # characters that are shown


def announcement(text: str) -> str:
    """Return the header's value, in ASCII, cut to a length that can be shown.

    No header may begin or end with a space, wherever the cut falls.

    >>> announced(announcement("level-1,beta=0.9 · ε 1.5 l2"))
    'level-1,beta=0.9 · ε 1.5 l2'
    """
    return quote(text[:_LONGEST].strip(), safe=" ,=./:+-_()")


def announced(value: str | None) -> str | None:
    """Return what a header says, cut to a length that can be shown, or None if there is no header.

    >>> announced("level-1%0A")
    'level-1'
    """
    if value is None:
        return None
    text = "".join(character if character.isprintable() else " " for character in unquote(value))
    return " ".join(text.split())[:_LONGEST] or None
