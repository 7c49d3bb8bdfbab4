"""Converts a surrogate to tensors and back, during its training and after it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from midstream.players.interface import Player
from midstream.players.referee import restore, state_of
from midstream.run.training import Training
from midstream_proxy.surrogates.surrogate import Surrogate

_MEMORY = "attacker."


def packed(surrogate: Surrogate, player: Player) -> dict[str, Tensor]:
    """Return the tensors of a surrogate and of the state of the attacker that attacks it.

    They are `model.*` and `optimizer.*` as in a checkpoint, `keys` and `perturbations` with one row per
    input, `validation_losses`, and the attacker's state as `attacker.*`.
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
    """Return the surrogate that `packed` converted, and restore its training and the attacker.

    Args:
        tensors: the tensors from `packed`.
        training: a training of the surrogate's specification, at any step.
        player: the attacker.
        steps: number of steps that the training had taken.
    """
    memory = {name: value for name, value in tensors.items() if name.startswith(_MEMORY)}
    restore(player, {name.removeprefix(_MEMORY): value for name, value in memory.items()})
    own = {name: value for name, value in tensors.items() if name not in memory}
    losses = own.pop("validation_losses").tolist()
    keys = [bytes(key) for key in own.pop("keys").numpy()]
    perturbations = dict(zip(keys, own.pop("perturbations").unbind() if keys else (), strict=True))
    training.load_state_dict(own, step=steps)
    return Surrogate(training, perturbations, losses)
