"""Names of runs, made of what they play."""

import re
from pathlib import Path


def free_name(out: Path, *parts: str) -> str:
    """Return a run name made of words, with a number appended if that folder exists.

    >>> free_name(Path("/nonexistent"), "folder:/data/Owls", "level-1,beta=0.9")
    'folder-data-owls-level-1-beta-0.9'
    """
    words = run_name(*parts)
    name, number = words, 1
    while (out / name).exists():
        number += 1
        name = f"{words}-{number}"
    return name


def run_name(*parts: str) -> str:
    """Return a run name made of words.

    >>> run_name("folder:/data/Owls", "level-1,beta=0.9")
    'folder-data-owls-level-1-beta-0.9'
    """
    return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.") for part in parts)[:90]
