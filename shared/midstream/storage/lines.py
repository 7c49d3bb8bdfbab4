"""Files of one JSON object per line, to which a process appends until it is killed."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any


def append_line(path: Path, content: Mapping[str, object]) -> None:
    """Append one object. If the last line is incomplete, because a process died, a new line is begun first.

    Raises:
        OSError: the line could not be written completely; the file is as it was.
    """
    with path.open("ab+", buffering=0) as file:
        line = (json.dumps(content) + "\n").encode()
        if end := file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        if file.write(line) != len(line):
            file.truncate(end)
            raise OSError(f"only part of a line could be written to {path}")


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, without incomplete lines; none if there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                continue  # a process died while it wrote the line
            if isinstance(found, dict):
                yield found


def cut_lines(path: Path, kept: Callable[[Mapping[str, Any]], bool]) -> None:
    """Remove the objects that are not `kept`, and incomplete lines."""
    if not path.exists():
        return
    left = b"".join((json.dumps(one) + "\n").encode() for one in lines(path) if kept(one))
    if left != path.read_bytes():
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(left)
        part.replace(path)


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file's bytes; None if there is no file."""
    return sha256(path.read_bytes()).hexdigest() if path.exists() else None
