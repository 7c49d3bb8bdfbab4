"""Training a surrogate: white-box attacks on a model of one's own while it trains (paper 4.6)."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from midstream.batches import BatchSource
from midstream.datasets import Split
from midstream.momentum import content_keys
from midstream.pixels import pixels
from midstream.players import Batch, PlayerError
from midstream.specification import Specification
from midstream.training import DivergedError, Training
from midstream.utility import total_loss
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_proxy.surrogate import Surrogate, SurrogateError, converged

Tell = Callable[[int, int, str], None]
"""Told how the training goes: steps done, steps at most, a few words. What it raises ends the training."""


def train_surrogate(
    specification: Specification, split: Split, settings: AttackSettings, *, tell: Tell
) -> Surrogate:
    """Train a model and attack its training, white-box and undefended, until its validation loss converges.

    Args:
        specification: what to train; its epochs are the most that are trained.
        split: the training examples that the attacker possesses, and the public validation set.
        settings: what the attacker decided.
        tell: told how it goes; what it raises ends the training.

    Raises:
        SurrogateError: the attacker broke its rules, or the training loss is no longer a number.
    """
    training = Training(specification, split, device=settings.device)
    batches = BatchSource(specification, split.train)
    attacked = AttackedRun(LocalGame(training), against_surrogate(settings), batches=batches)
    steps = specification.total_steps(len(split.train))
    perturbations: dict[bytes, Tensor] = {}
    losses: list[float] = []
    tell(0, steps, "epoch 1")
    while training.step < steps and not converged(losses):
        seq = training.step
        clean = batches.batch(seq)
        inputs = pixels(clean.inputs)
        try:
            sent = attacked.attack(clean).inputs
            training.take_step(Batch(seq, sent.to(settings.device), clean.labels.to(settings.device)))
        except (PlayerError, DivergedError) as error:
            raise SurrogateError(f"the surrogate's training failed: {error}") from error
        perturbations.update(zip(content_keys(inputs), (sent - inputs).unbind(), strict=True))
        if training.step % training.steps_per_epoch == 0:
            total = total_loss(training.model, *training.validation_here).item()
            losses.append(total / len(split.validation))
        last = f", validation loss {losses[-1]:.3f}" if losses else ""
        tell(training.step, steps, f"epoch {seq // training.steps_per_epoch + 1}{last}")
    return Surrogate(training, perturbations, losses)


def against_surrogate(settings: AttackSettings) -> AttackSettings:
    """Return settings for an attack on a surrogate: its model is one's own choice, its gradient at hand."""
    return replace(settings, gradient="server", allowed=None)
