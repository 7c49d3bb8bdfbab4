"""A run's folder: everything to read, repeat and compare it by."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class RunFolder:
    """The files of one run, below a folder of its own.

    `specification.json`, `environment.json`, `metrics.jsonl` (a line a step), `samples/*.png`,
    `checkpoint.safetensors`, `result.json`; `play` adds `scenario.yaml` and a log of each service.

    Args:
        path: the folder; it is made, and must not hold a run yet.

    Raises:
        FileExistsError: it holds one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "samples").mkdir(parents=True, exist_ok=True)
        if (path / "specification.json").exists():
            raise FileExistsError(f"{path} holds a run already; name another with --run or --out")
        self._metrics = (path / "metrics.jsonl").open("a", encoding="utf-8")

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `name` as JSON, whole or not at all."""
        self.write(name, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())

    def write(self, name: str, content: bytes) -> None:
        """Write `name`, whole or not at all."""
        write_whole(self.path / name, content)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one step's record."""
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()


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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a run folder's `metrics.jsonl`, one a step."""
    with (path / "metrics.jsonl").open(encoding="utf-8") as lines:
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
