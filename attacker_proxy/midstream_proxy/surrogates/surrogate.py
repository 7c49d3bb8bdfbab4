"""The black-box attacker's surrogate, a model that it trains and attacks itself (paper 4.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.players.interface import Batch, Player, View
from midstream.players.referee import restore, state_of
from midstream.players.remembering import remembers
from midstream.run.training import Training

WINDOW = 10
TOLERANCE = 0.05
PATIENCE = 5


class SurrogateError(MidstreamError, RuntimeError):
    """A run's surrogate could not be built; the message says why."""


@dataclass(frozen=True)
class SurrogateSettings:
    """The settings of a black-box attacker's surrogate.

    Attributes:
        model: its architecture and options; `auto` chooses by the images' size.
        epochs: maximum number of epochs, if it does not converge; None for five times the run's epochs.
        train_size: number of the run's training examples that the attacker has; None for all.
        seed: seed of the initial parameters and the order of batches; None derives one from the run's seed.
        cache: cache folder for surrogates.
    """

    model: str = "auto"
    epochs: int | None = None
    train_size: int | None = None
    seed: int | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Surrogate:
    """A surrogate, during or after its training.

    Attributes:
        training: the model at θ'_t, and its optimizer.
        perturbations: the last applied perturbation of each training input, by the input's content key.
        validation_losses: validation loss after each epoch, in nats per example.
    """

    training: Training
    perturbations: dict[bytes, Tensor]
    validation_losses: list[float]

    def unfinished(self, steps: int) -> bool:
        """Return whether to continue training: before `steps` steps, until the loss has converged."""
        return self.training.step < steps and not converged(self.validation_losses)

    def describe(self) -> str:
        """Return a sentence on how its training ended."""
        epochs, last = len(self.validation_losses), self.validation_losses[-1]
        how = "converged" if converged(self.validation_losses) else "had not converged"
        return f"its validation loss {how} after {epochs} epochs, at {last:.3f} nats an example"


def converged(losses: Sequence[float]) -> bool:
    """Return whether a validation loss has converged.

    It has converged if its means over the last three windows of ten epochs differ by at most 5 % of the last
    mean. Two windows could mistake the loss's minimum for convergence: it first falls while the model learns
    and then rises when the attack takes effect.

    >>> converged([3.0] * 30), converged([-3.0] * 30)
    (True, True)
    >>> converged([1.0] * 10 + [0.5] * 10 + [1.0] * 10)
    False
    """
    if len(losses) < 3 * WINDOW:
        return False
    last = losses[-3 * WINDOW :]
    means = [sum(last[start : start + WINDOW]) / WINDOW for start in range(0, 3 * WINDOW, WINDOW)]
    return max(means) - min(means) <= TOLERANCE * abs(means[-1])


class Playback:
    """Plays recorded perturbations back for known inputs; unknown inputs get a player's move.

    Each move reports the numbers of known and unknown inputs.

    Args:
        perturbations: the recorded perturbations, by content key.
        player: the strategy for unknown inputs. It sees the whole batch, because the training step uses it
            all.
    """

    def __init__(self, perturbations: Mapping[bytes, Tensor], player: Player) -> None:
        self._perturbations = perturbations
        self._player = player
        self.parts = (player,)

    @property
    def remembers(self) -> bool:
        """Whether the player has state."""
        return remembers(self._player)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the player's state."""
        return state_of(self._player)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the player's state."""
        restore(self._player, state)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the recorded perturbations of known inputs and the player's moves on unknown ones."""
        recorded = [self._perturbations.get(key) for key in batch.content_keys()]
        unknown = sum(perturbation is None for perturbation in recorded)
        view.report("known_inputs", len(recorded) - unknown)
        view.report("unknown_inputs", unknown)
        moves = self._player.perturb(batch, view) if unknown else torch.zeros_like(batch.inputs)
        if not isinstance(moves, Tensor) or moves.shape != batch.inputs.shape:
            return moves  # the host refuses it
        rows = [
            fresh if kept is None else kept.to(batch.inputs)
            for fresh, kept in zip(moves, recorded, strict=True)
        ]
        return torch.stack(rows)
