"""The run folder: the files by which a run is read, repeated and compared."""

import csv
import errno
import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

OPEN = "open"
"""Name of the file that marks an unfinished run; it holds the settings with which the run began."""

METRICS = "metrics.jsonl"
FINDINGS = "checker.jsonl"
"""Name of the file with each example's suspicion, if the run has a checker."""

SAMPLES = "samples"
MISTAKES = "mistakes.json"
"""Name of the file in `samples/` with the test images that the model failed at when it was last evaluated."""

_OF_A_RUN = ("specification.json", "result.json", "checkpoint.safetensors", "checkpoint.previous.safetensors")


class RunFolder:
    """The files of one run, in one folder.

    `specification.json`, `environment.json`, `metrics.jsonl` (one line per step), `samples/`,
    `checkpoint.safetensors`, `result.json`. `play` adds `scenario.yaml` and a log per service. A server
    stores its journal there until the run is over.

    Args:
        path: the folder. It is created, and must not hold a run unless `resumed`.
        resumed: whether the folder holds the run to resume.

    Raises:
        FileExistsError: the folder already holds a run, and `resumed` is false.
    """

    def __init__(self, path: Path, *, resumed: bool = False) -> None:
        self.path = path
        (path / SAMPLES).mkdir(parents=True, exist_ok=True)
        if not resumed and (found := holds_run(path)) is not None:
            raise FileExistsError(f"{path} already holds a run ({found}); choose another --run or --out")
        self._metrics = (path / METRICS).open("ab", buffering=0)
        self._digest = sha256()
        self._samples: list[Path] = []
        self.metrics_bytes = self._metrics.seek(0, os.SEEK_END)

    @property
    def metrics_sha256(self) -> str:
        """SHA-256 of the records written so far, or of those that `cut_metrics` left."""
        return self._digest.hexdigest()

    def mark_open(self, standing: Mapping[str, object]) -> None:
        """Mark the run as unfinished. If the server ends, the next one resumes the run.

        Args:
            standing: what the next server must know, even if other files are damaged.
        """
        self.write_json(OPEN, standing)

    def mark_over(self) -> None:
        """Mark the run as over: no server resumes it."""
        (self.path / OPEN).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Write `name` as JSON, atomically."""
        write_json(self.path / name, content)

    def write_sample(self, name: str, content: bytes) -> None:
        """Write a file of `samples/` atomically; the next `synchronise` makes it survive a loss of power."""
        path = self.path / SAMPLES / name
        write_whole(path, content, durably=False)
        self._samples.append(path)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a file that `write_json` wrote."""
        content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return content

    def append_metrics(self, record: Mapping[str, object]) -> None:
        """Append one step's record, completely or not at all."""
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
        """Truncate the records to their first `length` bytes; there must be at least that many."""
        with (self.path / METRICS).open("rb") as file:
            self._digest = sha256(file.read(length))
        self._metrics.truncate(length)
        self.metrics_bytes = length

    def synchronise(self) -> None:
        """Return once the records and samples are on the disk (fsync)."""
        os.fsync(self._metrics.fileno())
        for path in self._samples:
            with suppress(FileNotFoundError):  # somebody deleted it, who does not miss it
                synchronise(path)
        if self._samples:
            synchronise(self.path / SAMPLES)
        self._samples.clear()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()


def holds_run(path: Path) -> str | None:
    """Return the name of a file by which a folder holds a run; None if it holds none."""
    metrics = path / METRICS
    found = [name for name in _OF_A_RUN if (path / name).exists()]
    found += [METRICS] if metrics.exists() and metrics.stat().st_size > 0 else []
    return found[0] if found else None


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file atomically."""
    write_whole(path, as_json(content))


def as_json(content: Mapping[str, object]) -> bytes:
    """Return the bytes of a JSON file."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def write_whole(path: Path, content: bytes, *, durably: bool = True) -> None:
    """Write a file atomically: write a temporary file beside it, fsync it and rename it.

    Args:
        path: the file.
        content: all of its bytes.
        durably: whether to return only once the file is on the disk, and so survives a loss of power.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            if durably:
                file.flush()
                os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    if durably:
        synchronise(path.parent)


def synchronise(path: Path) -> None:
    """Return once a file, or a folder's list of files, is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def metrics_sha256(path: Path, length: int | None = None) -> str | None:
    """Return the SHA-256 of a run's records or of their first `length` bytes; None if it has fewer bytes."""
    metrics = path / METRICS
    if not metrics.exists():
        return sha256().hexdigest() if not length else None
    with metrics.open("rb") as file:
        content = file.read() if length is None else file.read(length)
    return None if length is not None and len(content) < length else sha256(content).hexdigest()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a run folder's `metrics.jsonl`, one per step."""
    with (path / METRICS).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def as_csv(records: Iterable[Mapping[str, object]], columns: Iterable[str]) -> str:
    """Return records as CSV. A missing value is an empty cell, a nested object is JSON.

    >>> as_csv([{"step": 1, "loss": None}], ["step", "loss"])
    'step,loss\\r\\n1,\\r\\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    for record in records:
        writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in record.items()})
    return text.getvalue()
