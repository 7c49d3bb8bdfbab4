"""A surrogate as tensors: in training, to go on with it, and at its end, to play it back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from midstream.players.interface import Player
from midstream.players.referee import restore, state_of
from midstream.run.training import Training
from midstream_proxy.surrogates.surrogate import Surrogate

_MEMORY = "attacker."


def packed(surrogate: Surrogate, player: Player) -> dict[str, Tensor]:
    """Return a surrogate, and the memory of the attacker that its training is attacked by.

    `model.*` and `optimizer.*` as in a checkpoint, `keys` and `perturbations` row by row, and
    `validation_losses`; `attacker.*` is the memory.
    """
    keys = [list(key) for key in surrogate.perturbations]
    rows = list(surrogate.perturbations.values())
    return {
        **surrogate.training.state_dict(),
        **{f"{_MEMORY}{name}": value for name, value in state_of(player).items()},
        "keys": torch.tensor(keys, dtype=torch.uint8),
        "perturbations": torch.stack(rows) if rows else torch.empty(0),
        "validation_losses": torch.tensor(surrogate.validation_losses, dtype=torch.float64),
    }


def unpacked(tensors: Mapping[str, Tensor], training: Training, player: Player, *, steps: int) -> Surrogate:
    """Return what `packed` returned as a surrogate, its training and the attacker taken to where they were.

    Args:
        tensors: from `packed`.
        training: of the surrogate's specification, at any step.
        player: the attacker.
        steps: how many the training had taken.
    """
    memory = {name: value for name, value in tensors.items() if name.startswith(_MEMORY)}
    restore(player, {name.removeprefix(_MEMORY): value for name, value in memory.items()})
    own = {name: value for name, value in tensors.items() if name not in memory}
    losses = own.pop("validation_losses").tolist()
    keys = [bytes(key) for key in own.pop("keys").numpy()]
    perturbations = dict(zip(keys, own.pop("perturbations").unbind() if keys else (), strict=True))
    training.load_state_dict(own, step=steps)
    return Surrogate(training, perturbations, losses)
