"""Surrogates kept on disk, each under a digest of everything that it depends on."""

import inspect
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

import midstream
import midstream_proxy
from midstream.runfolder import write_whole
from midstream.training import Training
from midstream.wire import encode_tensors, tensors_sha256
from midstream_proxy.surrogate import Surrogate

Description = Mapping[str, Any]


class DamagedError(ValueError):
    """A file does not hold what was written there; the message says why."""


def cache_folder() -> Path:
    """Return where surrogates are kept unless told otherwise: below `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midstream" / "surrogates"


def file_of(folder: Path, description: Description) -> Path:
    """Return the file of the surrogate that a description makes, whether or not it is there."""
    return folder / f"{sha256(_text(description).encode()).hexdigest()[:32]}.safetensors"


def save(path: Path, surrogate: Surrogate, description: Description) -> None:
    """Write a surrogate as one safetensors file, whole or not at all.

    `model.*` and `optimizer.*` as in a checkpoint, `keys` and `perturbations` row by row, and
    `validation_losses`; the metadata are the description and the tensors' SHA-256.

    Args:
        path: from `file_of`; its folder is made.
        surrogate: what to keep.
        description: everything that it depends on.
    """
    keys = [list(key) for key in surrogate.perturbations]
    tensors = surrogate.training.state_dict() | {
        "keys": torch.tensor(keys, dtype=torch.uint8),
        "perturbations": torch.stack(list(surrogate.perturbations.values())),
        "validation_losses": torch.tensor(surrogate.validation_losses, dtype=torch.float64),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = encode_tensors(tensors, description=_text(description), sha256=tensors_sha256(tensors))
    write_whole(path, content)


def load(path: Path, training: Training, description: Description) -> Surrogate:
    """Return the surrogate that a file holds.

    Args:
        path: from `file_of`.
        training: of the surrogate's specification; it is taken to the end of its training.
        description: everything that the surrogate depends on.

    Raises:
        DamagedError: the file is not one of `save`, of another surrogate, or its content has changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if metadata.get("sha256") != tensors_sha256(tensors):
        raise DamagedError(f"{path} does not hold what was written there: its SHA-256 differs")
    if metadata.get("description") != _text(description):
        raise DamagedError(f"{path} holds another surrogate")
    losses = tensors.pop("validation_losses").tolist()
    keys = [bytes(key) for key in tensors.pop("keys").numpy()]
    perturbations = dict(zip(keys, tensors.pop("perturbations").unbind(), strict=True))
    training.load_state_dict(tensors, step=len(losses) * training.steps_per_epoch)
    return Surrogate(training, perturbations, losses)


def code_sha256(*parts: object) -> str:
    """Return a digest of the code that a surrogate comes from.

    That is this library's, this package's, and the modules that hold `parts`, such as a player's class.
    """
    files = {path for package in (midstream, midstream_proxy) for path in _folder(package).glob("*.py")}
    modules = [inspect.getmodule(part) for part in parts]
    files |= {Path(found) for module in modules if (found := getattr(module, "__file__", None))}
    digest = sha256()
    for path in sorted(files, key=lambda path: path.name):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _folder(package: Any) -> Path:
    return Path(package.__file__).parent


def _text(description: Description) -> str:
    return json.dumps(description, sort_keys=True)
