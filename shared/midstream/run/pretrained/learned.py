"""On-disk cache of pretrained state, keyed by a digest of all its inputs."""

import inspect
import json
import os
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from midstream.players.reporting import Say
from midstream.protocol.wire import encode_tensors, tensors_sha256
from midstream.run.process.environment import describe
from midstream.storage.run_folder import write_whole

Description = Mapping[str, Any]

_EVERY = 10.0  # seconds between writes of unfinished state


class CacheFile:
    """One entry of the cache: pretrained state, finished or unfinished, in a safetensors file with metadata.

    Args:
        folder: folder of the cache; created on the first write.
        description: all inputs of the pretraining; their digest is the file's name.
        what: name of the state in messages.
        say: called if the file is damaged or cannot be written. Neither stops the pretraining.
    """

    def __init__(self, folder: Path, description: Description, *, what: str, say: Say) -> None:
        self._description = json.dumps(description, sort_keys=True)
        self.path = folder / f"{sha256(self._description.encode()).hexdigest()[:32]}.safetensors"
        self._what = what
        self._say = say
        self._written = time.monotonic()

    def read(self) -> tuple[dict[str, Tensor], int] | None:
        """Return the state and the number of steps taken, or None if there is no usable file."""
        if not self.path.exists():
            return None
        try:
            return self._read()
        except ValueError as error:
            self._say(f"{error}; the {self._what} is trained again")
            return None

    def _read(self) -> tuple[dict[str, Tensor], int]:
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error
        if metadata.get("sha256") != tensors_sha256(tensors):
            raise ValueError(f"{self.path} is damaged: its SHA-256 differs")
        if metadata.get("description") != self._description:
            raise ValueError(f"{self.path} holds the state of something other than this {self._what}")
        return tensors, int(metadata["steps"])

    def write(self, tensors: Mapping[str, Tensor], *, steps: int) -> bool:
        """Write the state after `steps` steps atomically. Return whether that succeeded."""
        content = encode_tensors(
            tensors, description=self._description, sha256=tensors_sha256(tensors), steps=str(steps)
        )
        self._written = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, content)
        except OSError as error:
            self._say(f"the {self._what} cannot be cached: {error}")
            return False
        return True

    def due(self) -> bool:
        """Return whether unfinished state should be written again."""
        return time.monotonic() - self._written > _EVERY


def cache_folder(kind: str) -> Path:
    """Return the default cache folder of a kind of state, below `$XDG_CACHE_HOME` or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midstream" / kind


def circumstances(device: torch.device) -> dict[str, str | int]:
    """Return the parts of the environment that affect pretrained bits."""
    here = describe(device)
    return {
        key: here[key] for key in ("torch", "device", "device_name", "cpu_capability", "threads", "precision")
    }


LEARNED_BY = ("attacks", "checkers", "defences", "mathematics", "networks", "players", "run", "tasks")
"""Folders of this library whose code affects pretrained state. An edit there makes the cache stale."""


def code_sha256(*parts: object, packages: tuple[ModuleType, ...] = ()) -> str:
    """Return a digest of the code that produces pretrained state.

    It covers this library's folders `LEARNED_BY`, all modules of `packages`, and the modules that define
    `parts`, such as a player's class.
    """
    library = Path(__file__).parents[1]
    folders = [library / name for name in LEARNED_BY]
    folders += [Path(str(package.__file__)).parent for package in packages]
    files = {
        path: f"{folder.name}/{path.relative_to(folder)}"
        for folder in folders
        for path in folder.rglob("*.py")
    }
    for part in parts:
        if found := getattr(inspect.getmodule(part), "__file__", None):
            files.setdefault(Path(found), Path(found).name)
    digest = sha256()
    for path, name in sorted(files.items(), key=lambda item: (item[1], item[0])):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
