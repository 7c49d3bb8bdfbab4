"""Training of a surrogate under white-box attacks (paper 4.6)."""

from dataclasses import replace

from midstream import plugins
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.utility import total_loss
from midstream.players.interface import Batch
from midstream.players.referee import PlayerError
from midstream.players.reporting import Say, Tell
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream.run.datasets import Split
from midstream.run.pretrained.learned import CacheFile
from midstream.run.training import DivergedError, Training
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.surrogate import Surrogate, SurrogateError
from midstream_proxy.surrogates.surrogate_file import packed, unpacked
from midstream_proxy.white_box import AttackedRun


def train_surrogate(
    specification: Specification,
    split: Split,
    settings: AttackSettings,
    *,
    file: CacheFile,
    tell: Tell = lambda *_: None,
    say: Say = lambda _: None,
) -> Surrogate:
    """Train an undefended model under white-box attacks until its validation loss converges.

    The surrogate is saved in the file. If the file holds an unfinished one, its training continues with the
    same bits.

    Args:
        specification: the surrogate's specification; its epochs are the maximum.
        split: the attacker's training examples, and the public validation set.
        settings: the attacker's settings.
        file: the cache file.
        tell: called with the progress; an exception from it ends the training, which can continue later.
        say: called with messages about the surrogate's origin.

    Raises:
        midstream.plugins.PluginError: the run's optimizer is not allowed here.
        SurrogateError: the attacker broke its rules, or the training loss is not finite.
    """
    allowed = settings.allowed
    if allowed is not None:  # the model is this attacker's own choice; the optimizer is the server's
        allowed = {*allowed, *plugins.permitted(specification.model)}
    training = Training(specification, split, device=settings.device, allowed=allowed)
    batches = BatchSource(specification, split.train)
    attacked = AttackedRun(LocalGame(training), against_surrogate(settings), batches=batches)
    attacked.prepare(tell=tell, say=say)
    surrogate = Surrogate(training, {}, [])
    if (kept := file.read()) is not None:
        surrogate = unpacked(kept[0], training, attacked.player, steps=kept[1])
    steps = specification.total_steps(len(split.train))
    if training.step and not surrogate.unfinished(steps):
        say(f"using the surrogate in {file.path}; {surrogate.describe()}")
        return surrogate
    how = f"for at most {specification.epochs} epochs" + f", from step {training.step}" * (training.step > 0)
    say(f"training a surrogate, {settings.surrogate.model}, {how}")
    tell(training.step, steps, "surrogate, epoch 1")
    while surrogate.unfinished(steps):
        text = _take_step(surrogate, attacked, batches)
        unfinished = surrogate.unfinished(steps)
        try:
            tell(training.step, steps, text)
        except BaseException:  # the caller gave up
            file.write(packed(surrogate, attacked.player), steps=training.step)
            raise
        if unfinished and file.due():
            file.write(packed(surrogate, attacked.player), steps=training.step)
    if file.write(packed(surrogate, attacked.player), steps=training.step):
        say(f"the surrogate is trained and saved in {file.path}; {surrogate.describe()}")
    else:
        say(f"the surrogate is trained; {surrogate.describe()}")
    return surrogate


def _take_step(surrogate: Surrogate, attacked: AttackedRun, batches: BatchSource) -> str:
    training, losses = surrogate.training, surrogate.validation_losses
    seq, device = training.step, training.device
    clean = batches.batch(seq)
    inputs = pixels(clean.inputs)
    try:
        sent = attacked.attack(clean).inputs.to(device)
        training.take_step(Batch(seq, sent, clean.labels.to(device)))
    except (PlayerError, DivergedError) as error:
        raise SurrogateError(f"the surrogate's training failed: {error}") from error
    surrogate.perturbations.update(zip(content_keys(inputs), (sent.cpu() - inputs).unbind(), strict=True))
    if training.step % training.steps_per_epoch == 0:
        total = total_loss(training.model, *training.validation_here).item()
        losses.append(total / len(training.validation))
    last = f", validation loss {losses[-1]:.3f}" if losses else ""
    return f"surrogate, epoch {seq // training.steps_per_epoch + 1}{last}"


def against_surrogate(settings: AttackSettings) -> AttackSettings:
    """Return settings for an attack on a surrogate: any model is allowed, and its gradient is available."""
    return replace(settings, gradient="server", allowed=None, on_error="stop")
