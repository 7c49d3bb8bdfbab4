"""Training a surrogate: white-box attacks on a model of one's own while it trains (paper 4.6)."""

from dataclasses import replace

from midstream.mathematics.momentum import content_keys
from midstream.mathematics.pixels import pixels
from midstream.mathematics.utility import total_loss
from midstream.players.interface import Batch
from midstream.players.referee import PlayerError
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream.run.datasets import Split
from midstream.run.learned import CacheFile
from midstream.run.reporting import Say, Tell
from midstream.run.training import DivergedError, Training
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_proxy.surrogates.surrogate import Surrogate, SurrogateError
from midstream_proxy.surrogates.surrogate_file import packed, unpacked


def train_surrogate(
    specification: Specification,
    split: Split,
    settings: AttackSettings,
    *,
    file: CacheFile,
    tell: Tell = lambda *_: None,
    say: Say = lambda _: None,
) -> Surrogate:
    """Train a model and attack its training, white-box and undefended, until its validation loss converges.

    It is kept in the file, and gone on with where the file holds one that is unfinished, to the same bits.

    Args:
        specification: what to train; its epochs are the most that are trained.
        split: the training examples that the attacker possesses, and the public validation set.
        settings: what the attacker decided.
        file: where it is kept.
        tell: told how it goes; what it raises ends the training, which can be gone on with later.
        say: told where the surrogate came from.

    Raises:
        SurrogateError: the attacker broke its rules, or the training loss is no longer a number.
    """
    training = Training(specification, split, device=settings.device)
    batches = BatchSource(specification, split.train)
    attacked = AttackedRun(
        LocalGame(training), against_surrogate(settings), batches=batches, tell=tell, say=say
    )
    surrogate = Surrogate(training, {}, [])
    if (kept := file.read()) is not None:
        surrogate = unpacked(kept[0], training, attacked.player, steps=kept[1])
    steps = specification.total_steps(len(split.train))
    if training.step and not surrogate.unfinished(steps):
        say(f"the surrogate is the one in {file.path}; {surrogate.describe()}")
        return surrogate
    how = f"for at most {specification.epochs} epochs" + f", from step {training.step}" * (training.step > 0)
    say(f"training a surrogate, {settings.surrogate.model}, {how}")
    tell(training.step, steps, "surrogate, epoch 1")
    while surrogate.unfinished(steps):
        text = _take_step(surrogate, attacked, batches)
        unfinished = surrogate.unfinished(steps)
        try:
            tell(training.step, steps, text)
        except BaseException:  # whoever waited gave up
            file.write(packed(surrogate, attacked.player), steps=training.step)
            raise
        if unfinished and file.due():
            file.write(packed(surrogate, attacked.player), steps=training.step)
    if file.write(packed(surrogate, attacked.player), steps=training.step):
        say(f"the surrogate is trained, and kept in {file.path}; {surrogate.describe()}")
    else:
        say(f"the surrogate is trained; {surrogate.describe()}")
    return surrogate


def _take_step(surrogate: Surrogate, attacked: AttackedRun, batches: BatchSource) -> str:
    training, losses = surrogate.training, surrogate.validation_losses
    seq, device = training.step, training.device
    clean = batches.batch(seq)
    inputs = pixels(clean.inputs)
    try:
        sent = attacked.attack(clean).inputs
        training.take_step(Batch(seq, sent.to(device), clean.labels.to(device)))
    except (PlayerError, DivergedError) as error:
        raise SurrogateError(f"the surrogate's training failed: {error}") from error
    surrogate.perturbations.update(zip(content_keys(inputs), (sent - inputs).unbind(), strict=True))
    if training.step % training.steps_per_epoch == 0:
        total = total_loss(training.model, *training.validation_here).item()
        losses.append(total / len(training.validation))
    last = f", validation loss {losses[-1]:.3f}" if losses else ""
    return f"surrogate, epoch {seq // training.steps_per_epoch + 1}{last}"


def against_surrogate(settings: AttackSettings) -> AttackSettings:
    """Return settings for an attack on a surrogate: its model is one's own choice, its gradient at hand."""
    return replace(settings, gradient="server", allowed=None, on_error="stop")
