"""The files that say what a run was begun with, held against what it was begun with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from midstream.storage.seal import digest
from midstream_server.runs.left import ResumeError
from midstream_server.runs.provenance import ENVIRONMENT, SPECIFICATION, Provenance

_REMEDY = (
    "Put the file back as it was, or delete it: it is then written again as the run was begun, and the run "
    "goes on"
)
_ANOTHER = ". What it says now is another run: start that one under another name"


def files_gone(folder: Path, provenance: Provenance) -> list[str]:
    """Return the names of those that are to be written again, having compared the others.

    Args:
        folder: the run's.
        provenance: what it was begun with.

    Raises:
        ResumeError: one says something else.
    """
    return [name for name, meant in provenance.files().items() if _is_gone(folder / name, meant, provenance)]


def _is_gone(path: Path, meant: dict[str, Any], provenance: Provenance) -> bool:
    if not path.exists():
        return True
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResumeError(f"{path} does not hold what was written there: {error}. {_REMEDY}") from error
    if digest(found) == digest(meant):
        return False
    if path.name == ENVIRONMENT and _is_behind(found, provenance):
        return True  # its server died before it wrote down what it let pass
    another = _ANOTHER if path.name == SPECIFICATION else ""
    raise ResumeError(
        f"{path} was altered since the run was begun: {_differences(found, meant)}. {_REMEDY}{another}"
    )


def _is_behind(found: Any, provenance: Provenance) -> bool:
    passed = provenance.resumed_with
    earlier = (replace(provenance, resumed_with=passed[:count]) for count in range(len(passed)))
    return any(digest(found) == digest(each.files()[ENVIRONMENT]) for each in earlier)


def _differences(found: Any, meant: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "it is no object any more"
    names = [name for name in {**meant, **found} if digest(found.get(name)) != digest(meant.get(name))]
    return "; ".join(
        f"{name} {json.dumps(found.get(name))}, begun with {json.dumps(meant.get(name))}" for name in names
    )
