"""The black-box attacker's surrogate: a model of its own, attacked while it trains (paper 4.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.mathematics.momentum import content_keys
from midstream.players.interface import Batch, Player, View
from midstream.players.referee import restore, state_of
from midstream.players.remembering import remembers
from midstream.run.training import Training

WINDOW = 10
TOLERANCE = 0.05
PATIENCE = 5


class SurrogateError(MidstreamError, RuntimeError):
    """There can be no surrogate of a run; the message says what is missing or went wrong."""


@dataclass(frozen=True)
class SurrogateSettings:
    """What the attacker of a black-box run decided on its surrogate.

    Attributes:
        model: its architecture and options; `auto` goes by the images' size.
        epochs: where to end if it has not converged; None for five times the run's epochs.
        train_size: how many of the run's training examples the attacker possesses; None for all.
        seed: its initial parameters and the order of its batches; None derives one from the run's seed.
        cache: folder that surrogates are kept in.
    """

    model: str = "auto"
    epochs: int | None = None
    train_size: int | None = None
    seed: int | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Surrogate:
    """A surrogate in training, or at its end.

    Attributes:
        training: the model at θ'_t, and its optimizer.
        perturbations: by content, the last perturbation of each training input, as it was applied.
        validation_losses: after each epoch, nats an example.
    """

    training: Training
    perturbations: dict[bytes, Tensor]
    validation_losses: list[float]

    def unfinished(self, steps: int) -> bool:
        """Return whether its training goes on: for at most so many steps, until its loss has converged."""
        return self.training.step < steps and not converged(self.validation_losses)

    def describe(self) -> str:
        """Return how its training ended, as a person would say it."""
        epochs, last = len(self.validation_losses), self.validation_losses[-1]
        how = "converged" if converged(self.validation_losses) else "had not converged"
        return f"its validation loss {how} after {epochs} epochs, at {last:.3f} nats an example"


def converged(losses: Sequence[float]) -> bool:
    """Return whether a validation loss has settled.

    It has where its means over the last three windows of ten epochs lie within 5 % of the last one. Two
    windows would be taken in by the turn from falling, while the model learns, to rising, when the attack
    gets through.

    >>> converged([3.0] * 30)
    True
    >>> converged([1.0] * 10 + [0.5] * 10 + [1.0] * 10)
    False
    """
    if len(losses) < 3 * WINDOW:
        return False
    last = losses[-3 * WINDOW :]
    means = [sum(last[start : start + WINDOW]) / WINDOW for start in range(0, 3 * WINDOW, WINDOW)]
    return max(means) - min(means) <= TOLERANCE * means[-1]


class Playback:
    """Plays recorded perturbations back by content; an input that is not in the record gets a player's move.

    The numbers of both are reported with each move.

    Args:
        perturbations: what was recorded, by content key.
        player: the strategy for other inputs. It sees the whole batch, since a step is taken on all of it.
    """

    def __init__(self, perturbations: Mapping[bytes, Tensor], player: Player) -> None:
        self._perturbations = perturbations
        self._player = player
        self.parts = (player,)

    @property
    def remembers(self) -> bool:
        """Whether the player does."""
        return remembers(self._player)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the player's memory."""
        return state_of(self._player)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the player's memory."""
        restore(self._player, state)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the recorded perturbations, and the player's where there are none."""
        recorded = [self._perturbations.get(key) for key in content_keys(batch.inputs)]
        unknown = sum(perturbation is None for perturbation in recorded)
        view.report("known_inputs", len(recorded) - unknown)
        view.report("unknown_inputs", unknown)
        moves = self._player.perturb(batch, view) if unknown else torch.zeros_like(batch.inputs)
        if not isinstance(moves, Tensor) or moves.shape != batch.inputs.shape:
            return moves  # for the host to refuse
        rows = [
            fresh if kept is None else kept.to(batch.inputs)
            for fresh, kept in zip(moves, recorded, strict=True)
        ]
        return torch.stack(rows)
