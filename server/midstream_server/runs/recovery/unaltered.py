"""Comparison of a run folder's provenance files with the run's provenance."""

import json
from dataclasses import replace
from pathlib import Path

from midstream.storage.seal import digest
from midstream_server.runs.recovery.left import ResumeError
from midstream_server.runs.recovery.provenance import ENVIRONMENT, SPECIFICATION, Provenance

_REMEDY = (
    "Restore the file, or delete it: the server then writes it again as the run was started, and resumes it"
)
_ANOTHER = ". To train what the file says now, start a new run under another name"


def files_gone(folder: Path, provenance: Provenance) -> list[str]:
    """Return the names of the provenance files to be written again, after comparing the others.

    Args:
        folder: the run's folder.
        provenance: what the run was started with.

    Raises:
        ResumeError: a file differs from the provenance.
    """
    return [name for name, meant in provenance.files().items() if _is_gone(folder / name, meant, provenance)]


def _is_gone(path: Path, meant: dict[str, object], provenance: Provenance) -> bool:
    if not path.exists():
        return True
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResumeError(f"{path} is damaged: {error}. {_REMEDY}") from error
    if digest(found) == digest(meant):
        return False
    if path.name == ENVIRONMENT and _is_behind(found, provenance):
        return True  # its server died before it recorded the accepted differences
    another = _ANOTHER if path.name == SPECIFICATION else ""
    raise ResumeError(
        f"{path} was altered after the run was started: {_differences(found, meant)}. {_REMEDY}{another}"
    )


def _is_behind(found: object, provenance: Provenance) -> bool:
    passed = provenance.resumed_with
    earlier = (replace(provenance, resumed_with=passed[:count]) for count in range(len(passed)))
    return any(digest(found) == digest(each.files()[ENVIRONMENT]) for each in earlier)


def _differences(found: object, meant: dict[str, object]) -> str:
    if not isinstance(found, dict):
        return "it is no longer a JSON object"
    names = [name for name in {**meant, **found} if digest(found.get(name)) != digest(meant.get(name))]
    return "; ".join(
        f"{name} is {json.dumps(found.get(name))}, started with {json.dumps(meant.get(name))}"
        for name in names
    )
