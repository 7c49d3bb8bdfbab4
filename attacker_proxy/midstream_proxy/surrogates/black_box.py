"""The attacker's side of a black-box run: its surrogate trained and attacked beforehand (paper 4.6)."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import midstream_proxy
from midstream import plugins
from midstream.mathematics.seeds import derive
from midstream.players.interface import Player
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch, tensors_sha256
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Examples, MissingDataError, Split
from midstream.run.learned import CacheFile, cache_folder, circumstances, code_sha256
from midstream.run.reporting import Say, Tell
from midstream_proxy.attack import AttackedRun, AttackSettings, Game, budget_of
from midstream_proxy.local_game import LocalGame
from midstream_proxy.memory.before import Before
from midstream_proxy.surrogates.surrogate import PATIENCE, Playback, Surrogate, SurrogateError
from midstream_proxy.surrogates.surrogate_training import against_surrogate, train_surrogate


class BlackBoxRun:
    """An attacker at work on a run whose model it cannot see; used by one thread.

    Whatever the attacker is, it is first played against a surrogate that this trains on the training data,
    which the attacker possesses. In the game, each input's last perturbation is played back; an input that
    was not among the training data gets the attacker's move on the surrogate at the end of its training. Of
    the run, only its specification and the public validation set are read.

    Args:
        game: what can be read of the run.
        settings: what the attacker decided.
        tell: told how the surrogate's training goes; what it raises ends the training.
        say: told where the surrogate came from.

    Raises:
        SurrogateError: the training data are not here, or the surrogate's training failed.
        midstream.plugins.PluginError: there is no such attacker or surrogate model.
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
        split = _possessed(run, game, settings)
        self.surrogate = find_surrogate(run, split, settings, tell=tell, say=say)
        batches = BatchSource(run, split.train)
        player = plugins.make("attackers", settings.attacker)
        self._white_box = AttackedRun(
            LocalGame(self.surrogate.training),
            replace(against_surrogate(settings), on_error=settings.on_error),
            player=Playback(self.surrogate.perturbations, player),
            batches=batches,
            tell=tell,
            say=say,
        )
        self.budget = self._white_box.budget
        self.input_shape, self.classes = self._white_box.input_shape, self._white_box.classes

    @property
    def player(self) -> Player:
        """The attacker that answers with what was recorded, and for other inputs by its own strategy."""
        return self._white_box.player

    @property
    def before(self) -> Before:
        """Takes the attacker back where it fails at a batch that goes on; a host may put its own here."""
        return self._white_box.before

    @before.setter
    def before(self, before: Before) -> None:
        self._white_box.before = before

    def attack(self, batch: WireBatch) -> WireBatch:
        """Return the batch that goes on in place of `batch`: float32, computed against none of the run's θ.

        Raises:
            midstream.players.referee.PlayerError: the attacker broke its rules.
        """
        attacked = self._white_box.attack(batch, version=self.surrogate.training.step)
        return replace(attacked, parameters_version=None)


def find_surrogate(
    run: Specification, split: Split, settings: AttackSettings, *, tell: Tell, say: Say
) -> Surrogate:
    """Return the surrogate of a run: a kept one, or one that is trained now, and kept.

    Args:
        run: what everyone may read of the run.
        split: the training examples that the attacker possesses, and the public validation set.
        settings: what the attacker decided.
        tell: told how the training goes; what it raises ends it.
        say: told where the surrogate came from.

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
            f"a black-box run is attacked by way of a surrogate, trained on the run's data: {error}"
        ) from error
    return replace(split, validation=Examples(**game.validation()))


def _describe(specification: Specification, split: Split, settings: AttackSettings) -> dict[str, Any]:
    """Return everything that a surrogate depends on, to the bit."""
    model, _ = plugins.parse(specification.model)
    parts = *_classes(plugins.make("attackers", settings.attacker)), plugins.find("models", model)
    data = {
        "inputs": split.train.inputs,
        "labels": split.train.labels,
        "validation_inputs": split.validation.inputs,
        "validation_labels": split.validation.labels,
    }
    return {
        "specification": specification.model_dump(exclude={"epsilon", "norm", "target", "evaluate_every"}),
        "attacker": settings.attacker,
        "budget": asdict(budget_of(specification, settings)),
        "data": tensors_sha256(data),
        "code": code_sha256(*parts, packages=(midstream_proxy,)),
        "environment": circumstances(settings.device),
    }


def _classes(player: Player) -> Iterator[type]:
    yield type(player)
    for part in getattr(player, "parts", ()):
        yield from _classes(part)


def attacked_run(
    game: Game, settings: AttackSettings, *, tell: Tell = lambda *_: None, say: Say = lambda _: None
) -> AttackedRun | BlackBoxRun:
    """Return the attacker at work on a run, by what the run lets it see.

    Arguments and errors are those of `AttackedRun` and `BlackBoxRun`.
    """
    if game.specification().access == "white-box":
        return AttackedRun(game, settings, tell=tell, say=say)
    return BlackBoxRun(game, settings, tell=tell, say=say)
