"""A finished run's files, held against the digests that its result carries."""

import json
from pathlib import Path
from typing import Any

from midstream.storage.run_folder import METRICS, metrics_sha256
from midstream.storage.seal import BrokenSealError, digest, unsealed

_REMEDY = "put it back as it was; what it says now is not what happened"


def refuse_altered(folder: Path, result: dict[str, Any] | None) -> None:
    """Return where a run is not finished, or its result and history are what it finished with.

    Args:
        folder: the run's.
        result: what its `result.json` holds; one without digests was written by an earlier midstream.

    Raises:
        ValueError: one of its files is another, or gone.
    """
    if result is None or "files" not in result:
        return
    try:
        unsealed(result)
    except BrokenSealError as error:
        raise ValueError(
            f"{folder / 'result.json'} was altered since the run finished: {error}; {_REMEDY}"
        ) from None
    for name, meant in result["files"].items():
        if _digest(folder, name) != meant:
            raise ValueError(f"{folder / name} was altered since the run finished; {_REMEDY}")


def _digest(folder: Path, name: str) -> str | None:
    if name == METRICS:
        return metrics_sha256(folder)
    path = folder / name
    try:
        return digest(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
