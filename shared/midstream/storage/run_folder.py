"""A run's folder: everything to read, repeat and compare it by."""

import csv
import errno
import io
import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

OPEN = "open"
"""The file that is there while a server is not done with the run; it says what the run was begun with."""

METRICS = "metrics.jsonl"

_OF_A_RUN = ("specification.json", "result.json", "checkpoint.safetensors", "checkpoint.previous.safetensors")


class RunFolder:
    """The files of one run, below a folder of its own.

    `specification.json`, `environment.json`, `metrics.jsonl` (a line a step), `samples/*.png`,
    `checkpoint.safetensors`, `result.json`; `play` adds `scenario.yaml` and a log of each service, and a
    server keeps its journal there until the run is over.

    Args:
        path: the folder; it is made, and must not hold a run yet.
        resumed: whether it holds the run that is meant.

    Raises:
        FileExistsError: it holds a run, and none was to be resumed.
    """

    def __init__(self, path: Path, *, resumed: bool = False) -> None:
        self.path = path
        (path / "samples").mkdir(parents=True, exist_ok=True)
        metrics = path / METRICS
        kept = [path / name for name in _OF_A_RUN if (path / name).exists()]
        kept += [metrics] if metrics.exists() and metrics.stat().st_size > 0 else []
        if kept and not resumed:
            raise FileExistsError(
                f"{path} holds a run already ({kept[0].name}); name another with --run or --out"
            )
        self._metrics = metrics.open("ab", buffering=0)
        self._digest = sha256()
        self.metrics_bytes = self._metrics.seek(0, os.SEEK_END)

    @property
    def metrics_sha256(self) -> str:
        """The digest of the records that were written, or that `cut_metrics` left."""
        return self._digest.hexdigest()

    def mark_open(self, standing: Mapping[str, Any]) -> None:
        """Say that a server is not done with the run: if it ends, the next one takes the run up.

        Args:
            standing: what that one must know, whatever becomes of the other files.
        """
        self.write_json(OPEN, standing)

    def mark_over(self) -> None:
        """Say that no server need take the run up."""
        (self.path / OPEN).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `name` as JSON, whole or not at all."""
        write_json(self.path / name, content)

    def write(self, name: str, content: bytes) -> None:
        """Write `name`, whole or not at all."""
        write_whole(self.path / name, content)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return what `write_json` wrote."""
        content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return content

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one step's record, whole or not at all."""
        line = (json.dumps(record) + "\n").encode()
        try:
            if self._metrics.write(line) != len(line):
                raise OSError(errno.ENOSPC, "only part of a record could be written", str(self.path))
        except OSError:
            self._metrics.truncate(self.metrics_bytes)
            raise
        self.metrics_bytes += len(line)
        self._digest.update(line)

    def cut_metrics(self, length: int) -> None:
        """Forget the records behind the first `length` bytes, of which there are at least so many."""
        with (self.path / METRICS).open("rb") as file:
            self._digest = sha256(file.read(length))
        self._metrics.truncate(length)
        self.metrics_bytes = length

    def synchronise_metrics(self) -> None:
        """Return once the records are on the disk."""
        os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all: one beside it is written, synchronised and renamed."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    synchronise(path.parent)


def synchronise(folder: Path) -> None:
    """Return once a folder's list of files is on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def metrics_sha256(path: Path, length: int | None = None) -> str | None:
    """Return the digest of a run's records, or of their first `length` bytes; None where there are fewer."""
    metrics = path / METRICS
    if not metrics.exists():
        return sha256().hexdigest() if not length else None
    with metrics.open("rb") as file:
        kept = file.read() if length is None else file.read(length)
    return None if length is not None and len(kept) < length else sha256(kept).hexdigest()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a run folder's `metrics.jsonl`, one a step."""
    with (path / METRICS).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def as_csv(records: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Return records as CSV, an empty cell where one has no value, and JSON where it has several.

    >>> as_csv([{"step": 1, "loss": None}], ["step", "loss"])
    'step,loss\\r\\n1,\\r\\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    for record in records:
        writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in record.items()})
    return text.getvalue()
