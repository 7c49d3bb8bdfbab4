"""The log in which an attacker notes which examples it altered; a checker is scored by it after the game.

The server never reads it. Over HTTP the attacker's process writes it to its own folder.
"""

from pathlib import Path

from midstream.storage.lines import lines


def truth_file(folder: Path, run: str) -> Path:
    """Return the path of the attacker's log of a run.

    >>> truth_file(Path("runs/a"), "a").name
    'attacked-a.jsonl'
    """
    return folder / f"attacked-{run}.jsonl"


def clean_folder(folder: Path, run: str) -> Path:
    """Return the folder in which an attacker draws the clean examples of a run, if it is told to.

    >>> clean_folder(Path("runs/a"), "a").name
    'clean-a'
    """
    return folder / f"clean-{run}"


def attacked(folder: Path) -> dict[int, frozenset[int]]:
    """Return the numbers of the altered examples, by the number of their batch; empty if there is no log.

    Args:
        folder: the run folder of one game. It may have been renamed since.
    """
    logs = folder.glob(truth_file(Path(), "*").name)
    return {line["seq"]: frozenset(line["attacked"]) for path in logs for line in lines(path)}
