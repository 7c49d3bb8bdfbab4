"""Verify a finished run's files against the digests in its result."""

import json
from pathlib import Path
from typing import Any

from midstream.storage.lines import sha256_of
from midstream.storage.run_files import DamagedRunError
from midstream.storage.run_folder import FINDINGS, METRICS, metrics_sha256
from midstream.storage.seal import BrokenSealError, digest, unsealed

_REMEDY = "restore the original file; its content no longer matches the run"


def refuse_altered(folder: Path, result: dict[str, Any] | None) -> None:
    """Verify that a finished run's files have not changed since it finished.

    Args:
        folder: the run folder.
        result: content of its `result.json`, None if unfinished. A result without digests, as written by
            earlier versions, is not verified.

    Raises:
        DamagedRunError: a file was changed or removed.
    """
    if result is None or "files" not in result:
        return
    try:
        unsealed(result)
    except BrokenSealError as error:
        raise DamagedRunError(
            f"{folder / 'result.json'} was altered since the run finished: {error}; {_REMEDY}"
        ) from None
    for name, meant in result["files"].items():
        if _digest(folder, name) != meant:
            raise DamagedRunError(f"{folder / name} was altered since the run finished; {_REMEDY}")


def _digest(folder: Path, name: str) -> str | None:
    if name == METRICS:
        return metrics_sha256(folder)
    if name == FINDINGS:
        return sha256_of(folder / name)
    path = folder / name
    try:
        return digest(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
