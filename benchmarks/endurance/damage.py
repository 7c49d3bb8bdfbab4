"""Damage one file while no process uses it, and undo the damage."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.endurance.plan import Draw

T = TypeVar("T")

Snapshot = dict[Path, bytes]
"""Files of one service at one of its deaths, by path relative to the game's folder."""

_BESIDE = ("", "-wal", "-shm")
_FOLDER = "folder deleted"
_ZEROED = 512  # bytes at most


@dataclass(frozen=True)
class Wound:
    """One damage.

    Attributes:
        folder: the game's folder.
        file: path of the damaged file, relative to `folder`.
        kind: kind of damage.
        names: names by which a message may refer to the file.
        saved: original content of the file, or of all files of its database; None if a file did not exist.
    """

    folder: Path
    file: Path
    kind: str
    names: tuple[str, ...]
    saved: dict[Path, bytes | None]

    def undo(self) -> None:
        """Restore the original content."""
        for file, content in self.saved.items():
            _write(self.folder / file, content)

    def label(self) -> str:
        """Return the file's name in the tally."""
        return f"{self.file.parent.name}/" if self.kind == _FOLDER else _label(self.file)


def files_of(folder: Path, below: Iterable[str]) -> list[Path]:
    """Return the files from which a service resumes, without logs and files that were set aside.

    Args:
        folder: the game's folder.
        below: its subfolders that belong to the service.
    """
    found = [path for name in below for path in (folder / name).rglob("*") if path.is_file()]
    return sorted(
        path.relative_to(folder) for path in found if path.suffix != ".log" and ".damaged" not in path.name
    )


def snapshot(folder: Path, files: Iterable[Path]) -> Snapshot:
    """Return the contents of files."""
    return {file: (folder / file).read_bytes() for file in files}


def inflict(draw: Draw, folder: Path, now: Snapshot, earlier: Sequence[Snapshot]) -> Wound | None:
    """Damage one file; return the damage, or None if there was no file.

    Args:
        draw: selects file and kind of damage.
        folder: the game's folder.
        now: the files that may be damaged.
        earlier: snapshots at earlier deaths, oldest first.
    """
    labels = sorted({_label(file) for file in now})
    if not labels:
        return None
    label = _named(draw.file, labels)
    file = _picked(draw.place, [file for file in now if _label(file) == label])
    ways = _ways(draw, file, now, earlier)
    kind = _named(draw.kind, sorted(ways))
    changed = ways[kind]
    saved = {other: now.get(other) for other in {*changed, *_beside(file)}}
    for other, content in changed.items():
        _write(folder / other, content)
    if kind == _FOLDER:
        shutil.rmtree(folder / file.parent)
    return Wound(folder, file, kind, _names(file), saved)


def _ways(
    draw: Draw, file: Path, now: Snapshot, earlier: Sequence[Snapshot]
) -> dict[str, dict[Path, bytes | None]]:
    """Return by name what each damage that can befall a file leaves; None for nothing."""
    content = now[file]
    ways: dict[str, dict[Path, bytes | None]] = {"deleted": {file: None}}
    kinds: dict[str, Callable[[bytes, Draw], bytes]] = {
        "byte altered": _altered,
        "truncated": _truncated,
        "block zeroed": _zeroed,
    }
    if file.suffix in (".json", ".jsonl"):
        kinds["number edited"] = _edited
    for kind, work in kinds.items():
        if content and (left := work(content, draw)) != content:
            ways[kind] = {file: left}
    if older := [kept[file] for kept in earlier if kept.get(file, content) != content]:
        ways["older copy"] = {file: _picked(draw.value, older)}
    if ".sqlite" in file.name:
        parts = _beside(file)
        states = [{part: kept.get(part) for part in parts} for kept in earlier if parts[0] in kept]
        if different := [state for state in states if state != {part: now.get(part) for part in parts}]:
            ways["older copy of the database"] = _picked(draw.value, different)
    if file.parts[0] == "attacks":
        ways[_FOLDER] = {other: None for other in now if other.parent == file.parent}
    return ways


def _altered(content: bytes, draw: Draw) -> bytes:
    at = int(draw.value * len(content))
    other = content[at] ^ (1 + int(draw.place * 255))
    return content[:at] + bytes([other]) + content[at + 1 :]


def _truncated(content: bytes, draw: Draw) -> bytes:
    return content[: int(draw.value * len(content))]


def _zeroed(content: bytes, draw: Draw) -> bytes:
    at = int(draw.value * len(content))
    block = content[at : at + _ZEROED]
    return content[:at] + bytes(len(block)) + content[at + len(block) :]


def _edited(content: bytes, draw: Draw) -> bytes:
    digits = [at for at, byte in enumerate(content) if chr(byte).isdigit()]
    if not digits:
        return content
    at = _picked(draw.value, digits)
    other = (int(chr(content[at])) + 1 + int(draw.place * 9)) % 10
    return content[:at] + str(other).encode() + content[at + 1 :]


def _named(choice: float | str, names: Sequence[str]) -> str:
    return choice if isinstance(choice, str) else _picked(choice, names)


def _picked(place: float, things: Sequence[T]) -> T:
    return things[int(place * len(things))]


def _beside(file: Path) -> list[Path]:
    """Return the files of the database that a file is part of, or the file."""
    if ".sqlite" not in file.name:
        return [file]
    stem = file.name.partition(".sqlite")[0] + ".sqlite"
    return [file.with_name(stem + suffix) for suffix in _BESIDE]


def _names(file: Path) -> tuple[str, ...]:
    return (file.name, _beside(file)[0].name)


def _label(file: Path) -> str:
    if file.parts[0] == "cache":
        return "what was learned"
    return "samples/*" if "samples" in file.parts else file.name


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
