"""Read the files of a run folder and refuse damaged ones by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midstream.errors import MidstreamError

Kinds = Mapping[str, tuple[type, ...]]
"""The keys that an object must have, each with its permitted types."""

_NUMBER = (int, float)
_MAYBE = (int, float, type(None))

RECORD: Kinds = {
    **dict.fromkeys(("step", "epoch"), (int,)),
    **dict.fromkeys(("loss", "correction", "seconds"), _NUMBER),
    **dict.fromkeys(("test_accuracy", "test_loss", "validation_accuracy", "validation_loss"), _MAYBE),
    **dict.fromkeys(("conversion_rate", "evasion_rate"), _MAYBE),
    **dict.fromkeys(("attacker", "defender"), (dict, type(None))),
}
SPECIFICATION: Kinds = {
    **dict.fromkeys(("name", "dataset", "defender", "norm"), (str,)),
    "epsilon": _NUMBER,
}
RESULT: Kinds = {"parameters_sha256": (str,), "test_accuracy": _MAYBE}


class DamagedRunError(MidstreamError, ValueError):
    """A file of a run folder cannot be read; the message names the file and what is wrong with it."""


def read_object(path: Path, kinds: Kinds | None = None) -> dict[str, Any]:
    """Read a JSON object from a file of a run folder.

    Args:
        path: the file.
        kinds: keys that the object must have, with their types.

    Raises:
        DamagedRunError: the file is not a JSON object, or a key is missing or has the wrong type.
    """
    return _object(_text(path), kinds or {}, str(path))


def read_result(path: Path) -> dict[str, Any]:
    """Read a `result.json`, whose accuracy is None only beside the measures of another task."""
    found = read_object(path, RESULT)
    if found["test_accuracy"] is None and not found.get("measures"):
        raise _damaged(str(path), "'test_accuracy' is None")
    return found


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a `metrics.jsonl`, one per line; raises as `read_object` does."""
    lines = _text(path).splitlines()
    return [_object(line, RECORD, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DamagedRunError(f"{path} is not there; is the rest of its run elsewhere?") from error
    except UnicodeDecodeError as error:
        raise _damaged(str(path), f"it is not UTF-8 text at byte {error.start}") from error


def _object(text: str, kinds: Kinds, where: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is empty" if not text.strip() else f"it is not JSON: {error}"
        raise _damaged(where, reason) from error
    if not isinstance(found, dict):
        raise _damaged(where, f"it holds a {type(found).__name__}, not an object")
    for name, kind in kinds.items():
        if name not in found:
            raise _damaged(where, f"it lacks {name!r}")
        value = found[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _damaged(where, f"{name!r} is {value!r:.80}")
    return found


def _damaged(where: str, reason: str) -> DamagedRunError:
    return DamagedRunError(f"{where} is damaged: {reason}; restore the run folder from a copy, or replay it")
