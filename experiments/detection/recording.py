"""What a checker saw of a game, and which examples were attacked, as one safetensors file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

_MODEL = "model."


@dataclass(frozen=True)
class Recording:
    """A game's batches in the order of their arrival, one row for each example.

    Attributes:
        step: number of the batch, `(rows,)`.
        inputs: as they arrived at the server, `(rows, *input)`.
        labels: as they arrived, `(rows,)`.
        attacked: whether the attacker altered the example, `(rows,)`.
        validation_inputs: inputs of Dval.
        validation_labels: labels of Dval.
        model: the parameters at the end of the game.
    """

    step: Tensor
    inputs: Tensor
    labels: Tensor
    attacked: Tensor
    validation_inputs: Tensor
    validation_labels: Tensor
    model: Mapping[str, Tensor]

    def write(self, path: Path) -> None:
        """Write the recording."""
        path.parent.mkdir(parents=True, exist_ok=True)
        own = {name: value for name, value in vars(self).items() if name != "model"}
        save_file(own | {_MODEL + name: value.contiguous() for name, value in self.model.items()}, path)


def read(path: Path) -> Recording:
    """Read a recording."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = {name.removeprefix(_MODEL): found.pop(name) for name in list(found) if name.startswith(_MODEL)}
    return Recording(**found, model=model)


def recorded(folder: Path, attacker: str, seed: int) -> Path:
    """Return the path of a game's recording.

    >>> recorded(Path("runs"), "level-1,beta=0", 2).name
    'level-1,beta=0-2.safetensors'
    """
    return folder / f"{attacker}-{seed}.safetensors"


def joined(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return batches as one tensor, and the number of the batch of each row."""
    lengths = torch.tensor([len(one) for one in rows])
    return torch.cat(rows), torch.arange(len(rows)).repeat_interleave(lengths)
