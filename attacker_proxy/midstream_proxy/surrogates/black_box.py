"""Attacks on a black-box run, by way of a surrogate that is trained and attacked first (paper 4.6)."""

from collections.abc import Iterator
from dataclasses import asdict, replace

from torch import Tensor

import midstream_proxy
from midstream import plugins
from midstream.mathematics.seeds import derive
from midstream.players.interface import Player
from midstream.players.reporting import Say, Tell
from midstream.players.wrappers.composing import composes
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch, tensors_sha256
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Examples, MissingDataError, Split
from midstream.run.pretrained.learned import CacheFile, cache_folder, circumstances, code_sha256
from midstream.run.process.environment import library_versions
from midstream_proxy.attack import AttackSettings, Game, budget_of
from midstream_proxy.memory.before import Before
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.surrogate import PATIENCE, Playback, Surrogate, SurrogateError
from midstream_proxy.surrogates.surrogate_training import against_surrogate, train_surrogate
from midstream_proxy.white_box import AttackedRun


class BlackBoxRun:
    """An attack on a run whose model the attacker cannot see; use it from one thread.

    The attacker first attacks a surrogate, which this class trains on the attacker's copy of the training
    data. In the game, each known input gets its last perturbation of that training. An unknown input gets the
    attacker's move on the fully trained surrogate. The attack reads only the run's specification and its
    public validation set.

    Args:
        game: reads the run.
        settings: the attacker's settings.
        tell: called with the progress of the surrogate's training; an exception from it ends the training.
        say: called with messages about the surrogate's origin.

    Raises:
        SurrogateError: the training data are missing, or the surrogate's training failed.
        midstream.plugins.PluginError: there is no such attacker or surrogate model, or the attacker sends
            other examples than came.
    """

    def __init__(
        self,
        game: Game,
        settings: AttackSettings,
        *,
        tell: Tell = lambda *_: None,
        say: Say = lambda _: None,
    ) -> None:
        run = game.specification()
        player = plugins.make("attackers", settings.attacker)
        if composes(player):
            raise plugins.PluginError(
                f"attacker {settings.attacker!r} sends other examples than came, which is not possible in a "
                f"black-box run: its surrogate trains on the data set's minibatches"
            )
        split = _possessed(run, game, settings)
        self.surrogate = find_surrogate(run, split, settings, tell=tell, say=say)
        batches = BatchSource(run, split.train)
        self._white_box = AttackedRun(
            LocalGame(self.surrogate.training),
            replace(against_surrogate(settings), on_error=settings.on_error),
            player=Playback(self.surrogate.perturbations, player),
            batches=batches,
        )
        self._white_box.prepare(tell=tell, say=say)
        self.budget = self._white_box.budget
        self.input_shape, self.classes = self._white_box.input_shape, self._white_box.classes
        self.task = self._white_box.task

    @property
    def player(self) -> Player:
        """The attacker: it plays recorded perturbations back and follows its strategy for unknown inputs."""
        return self._white_box.player

    @property
    def before(self) -> Before:
        """Restores the attacker's state after a failed move; a host may replace it."""
        return self._white_box.before

    @before.setter
    def before(self, before: Before) -> None:
        self._white_box.before = before

    @property
    def composed(self) -> Tensor | None:
        """The inputs of the last minibatch before they were moved."""
        return self._white_box.composed

    def attack(self, batch: WireBatch) -> WireBatch:
        """Return the attacked batch: float32, without a version, since it depends on none of the run's θ.

        Raises:
            midstream.players.referee.PlayerError: the attacker broke its rules.
        """
        attacked = self._white_box.attack(batch, version=self.surrogate.training.step)
        return replace(attacked, parameters_version=None)


def find_surrogate(
    run: Specification, split: Split, settings: AttackSettings, *, tell: Tell, say: Say
) -> Surrogate:
    """Return the surrogate of a run, from the cache or newly trained.

    Args:
        run: the public specification of the run.
        split: the attacker's training examples, and the public validation set.
        settings: the attacker's settings.
        tell: called with the progress of the training; an exception from it ends the training.
        say: called with messages about the surrogate's origin.

    Raises:
        SurrogateError: the surrogate's training failed.
        midstream.plugins.PluginError: there is no such attacker or surrogate model.
    """
    wanted = settings.surrogate
    specification = run.model_copy(
        update={
            "name": None,
            "model": wanted.model,
            "seed": derive(run.seed, "surrogate") if wanted.seed is None else wanted.seed,
            "epochs": wanted.epochs or PATIENCE * run.epochs,
            "max_steps": None,
            "defender": "none",
            "checker": None,
            "on_error": "stop",
            "access": "white-box",
        }
    )
    description = _describe(specification, split, settings)
    file = CacheFile(wanted.cache or cache_folder("surrogates"), description, what="surrogate", say=say)
    return train_surrogate(specification, split, settings, file=file, tell=tell, say=say)


def _possessed(run: Specification, game: Game, settings: AttackSettings) -> Split:
    size = settings.surrogate.train_size or run.train_size
    try:
        split = load_split(
            run.model_copy(update={"train_size": size}),
            settings.source,
            allowed=settings.allowed,
            dataset_sha256=game.dataset_sha256(),
        )
    except (MissingDataError, PluginError, ValueError) as error:
        raise SurrogateError(
            f"an attack on a black-box run needs a surrogate, trained on the run's data: {error}"
        ) from error
    return replace(split, validation=Examples(**game.validation()))


def _describe(specification: Specification, split: Split, settings: AttackSettings) -> dict[str, object]:
    """Return everything that determines the bits of a surrogate."""
    model, _ = plugins.parse(specification.model)
    optimizer, _ = plugins.parse(specification.optimizer)
    own = [plugins.find("optimizers", optimizer, allowed=settings.allowed)] if ":" in optimizer else []
    if specification.loss is not None:
        own.append(plugins.find("losses", plugins.parse(specification.loss)[0], allowed=settings.allowed))
    parts = *_classes(plugins.make("attackers", settings.attacker)), plugins.find("models", model), *own
    data = {
        "inputs": split.train.inputs,
        "labels": split.train.labels,
        "validation_inputs": split.validation.inputs,
        "validation_labels": split.validation.labels,
    }
    return {
        "specification": specification.model_dump(exclude={"epsilon", "norm", "target", "evaluate_every"}),
        "attacker": settings.attacker,
        "budget": asdict(replace(budget_of(specification, settings), scale=split.scale)),
        "data": tensors_sha256(data),
        "weights": plugins.weights_sha256(specification.model),
        "code": code_sha256(*parts, packages=(midstream_proxy,)),
        "environment": circumstances(settings.device) | library_versions(specification.model),
    }


def _classes(player: Player) -> Iterator[type]:
    yield type(player)
    for part in getattr(player, "parts", ()):
        yield from _classes(part)


def attacked_run(
    game: Game,
    settings: AttackSettings,
    *,
    player: Player | None = None,
    tell: Tell = lambda *_: None,
    say: Say = lambda _: None,
) -> AttackedRun | BlackBoxRun:
    """Return the attacker of a run, ready to attack: white-box or black-box, as the run's access demands.

    Arguments and errors are those of `AttackedRun`, `AttackedRun.prepare` and `BlackBoxRun`. A `player` can
    only be given for a white-box run.
    """
    if game.specification().access == "white-box":
        attacked = AttackedRun(game, settings, player=player)
        attacked.prepare(tell=tell, say=say)
        return attacked
    return BlackBoxRun(game, settings, tell=tell, say=say)
