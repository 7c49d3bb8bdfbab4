"""Checkpoints: the complete state of a run at one step, in one file."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.protocol.wire import encode_tensors, tensors_sha256
from midstream.storage import faults
from midstream.storage.run_folder import synchronise, write_whole
from midstream_server.runs.recovery.provenance import Provenance

NEWEST = "checkpoint.safetensors"
OLDER = "checkpoint.previous.safetensors"
ATTACKER = "attacker."
"""Prefix of the attacker's memory among a checkpoint's tensors."""


class DamagedCheckpointError(MidstreamError, RuntimeError):
    """A checkpoint is unreadable, or its checksum does not match."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a number of steps.

    Attributes:
        provenance: what the run was started with; None if an earlier midstream wrote the checkpoint.
        step: steps taken.
        history: the state of the run's record, as JSON values.
        tensors: `model.…`, `optimizer.…`, `defender.…`, and `attacker.…` if it plays in the same process.
    """

    provenance: Provenance | None
    step: int
    history: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def attacker(self) -> dict[str, Tensor]:
        """The attacker's memory, by name."""
        return {
            name.removeprefix(ATTACKER): value
            for name, value in self.tensors.items()
            if name.startswith(ATTACKER)
        }


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, keep the previous one as `OLDER`, and return the new one's path.

    At every moment, at least one of the two is intact, even if the process dies.
    """
    assert checkpoint.provenance is not None
    described = {
        "step": str(checkpoint.step),
        "provenance": checkpoint.provenance.written(),
        "history": json.dumps(checkpoint.history),
    }
    body = encode_tensors(checkpoint.tensors, **described, sha256=_digest(described, checkpoint.tensors))
    newest = folder / NEWEST
    write_whole(folder / "checkpoint.next.safetensors", body)
    faults.reached("checkpoint written")
    if newest.exists():
        newest.replace(folder / OLDER)
        faults.reached("checkpoint set back")
    (folder / "checkpoint.next.safetensors").replace(newest)
    synchronise(folder)
    faults.reached("checkpoint in place")
    return newest


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint in a file, or None if there is no file.

    Raises:
        DamagedCheckpointError: the file is unreadable, or its checksum does not match.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            described = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedCheckpointError(f"{path} is damaged: {error}") from error
    if described.pop("sha256", None) != _digest(described, tensors):
        raise DamagedCheckpointError(f"{path} is damaged: its SHA-256 does not match")
    began = described.get("provenance")
    return Checkpoint(
        provenance=None if began is None else Provenance.read(began),
        step=int(described["step"]),
        history=json.loads(described["history"]),
        tensors=tensors,
    )


def _digest(described: dict[str, str], tensors: dict[str, Tensor]) -> str:
    return sha256((json.dumps(described, sort_keys=True) + tensors_sha256(tensors)).encode()).hexdigest()
