"""The attacker's side of one run: a copy of the model, kept at the live parameters, and the move."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from midstream import plugins
from midstream.mathematics.budget import Budget, Norm, pixel_bounds
from midstream.mathematics.derivatives.check import FEW
from midstream.mathematics.derivatives.functional import trainable
from midstream.mathematics.derivatives.gradients import Gradient, along, validation_gradient
from midstream.mathematics.derivatives.known_orders import agreed_order, remember
from midstream.mathematics.loss import cross_entropy
from midstream.mathematics.pixels import pixels
from midstream.mathematics.training_step import TrainingStep
from midstream.players.course import Ground
from midstream.players.interface import Batch, Player, View
from midstream.players.referee import HostError, OnError, PlayerError, move, pass_clean, relabelled
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification, defaults
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource, load_split
from midstream.run.dataset_checks import DatasetError
from midstream.run.datasets import Source
from midstream.run.models import build_model
from midstream.run.prepared import must_learn, prepare
from midstream.run.reporting import Say, Tell
from midstream_proxy.memory.before import Before, Copies, Nothing
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_proxy.upcoming import UpcomingBatches


class Game(Protocol):
    """What an attacker can read of a run."""

    def specification(self) -> Specification:
        """Return what is trained."""

    def dataset_sha256(self) -> str | None:
        """Return the digest of its data set; None if it is not known."""

    def model(self) -> dict[str, Any]:
        """Return the architecture and the loss."""

    def validation(self) -> dict[str, Tensor]:
        """Return the public Dval: `inputs` and `labels`."""

    def parameters(self, version: int) -> dict[str, Tensor]:
        """Return θ at a version."""

    def validation_gradient(self, version: int) -> Gradient:
        """Return v at a version."""

    def training_step(self, version: int) -> TrainingStep:
        """Return the optimizer before the step from a version."""


@dataclass(frozen=True)
class AttackSettings:
    """What the attacker decided.

    Attributes:
        attacker: its name and options.
        epsilon: its budget; None takes the data set's.
        norm: the ball's norm; None takes the run's.
        gradient: who computes the validation gradient: `server` reads the one it publishes, `own` computes
            it here, to the same bits.
        device: where to compute.
        allowed: the dotted paths, files and folders that the run's model and data set may name.
        source: where the data set is, for an attacker that possesses it.
        surrogate: the model that it trains where the run is black-box.
        signing_key: the provider's, where the attacker is the provider: what it attacked is signed again.
        on_error: what becomes of a batch that the attacker fails at: `stop` raises, `pass-clean` sends it on
            as it came.
    """

    attacker: str
    epsilon: float | None = None
    norm: Norm | None = None
    gradient: Literal["server", "own"] = "server"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    allowed: Collection[str] | None = frozenset()
    source: Source = field(default_factory=Source)
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    signing_key: bytes | None = field(default=None, repr=False)
    on_error: OnError = "stop"


class AttackedRun:
    """An attacker at work on one run; used by one thread.

    Args:
        game: what can be read of the run.
        settings: what the attacker decided.
        player: the attacker itself; None makes the one that the settings name.
        batches: what will be sent; None makes them of the data set, once an attacker asks for them.
        tell: told how far an attacker that learns before the game is; what it raises ends that.
        say: told where what it learned came from.

    Raises:
        midstream.run.prepared.LearningError: the attacker could not learn what it must.
        midstream.plugins.PluginError: there is no such attacker, or the run's model cannot be built here.
        midstream.DerivativeError: the run's derivatives, taken as its server does, are not right here.
    """

    def __init__(
        self,
        game: Game,
        settings: AttackSettings,
        *,
        player: Player | None = None,
        batches: BatchSource | None = None,
        tell: Tell = lambda *_: None,
        say: Say = lambda _: None,
    ) -> None:
        self.settings = settings
        self.player: Player = player or plugins.make("attackers", settings.attacker)
        self.before: Before = (
            Copies(settings.attacker, self.player) if settings.on_error == "pass-clean" else Nothing()
        )
        """Takes the attacker back where it fails at a batch that goes on; a host may put its own here."""
        self._game = game
        self._specification = specification = game.specification()
        self._described = described = game.model()
        self._learning_rate: float = described["learning_rate"]
        self.budget = budget_of(specification, settings)
        self.input_shape = tuple(described["input_shape"])
        self.classes = len(described["classes"])
        dval = game.validation()
        self._validation = (dval["inputs"].to(settings.device), dval["labels"].to(settings.device))
        self._model = self._built()
        few = self._few(), self._validation[1][:FEW]
        self._order = agreed_order(self._model, *few, described.get("derivatives"))
        remember(self._model, self._few(), self._order)
        self._version: int | None = None
        self._gradient: Gradient | None = None
        self._step: TrainingStep | None = None
        self._batches = batches
        if must_learn(self.player):
            prepare(
                settings.attacker,
                self.player,
                self._ground(),
                run=specification.model_copy(update={"model": described["model"]}),
                cache=settings.surrogate.cache,
                tell=tell,
                say=say,
            )

    def attack(self, batch: WireBatch, *, version: int | None = None) -> WireBatch:
        """Return the batch that goes on in place of `batch`: float32, computed against θ_seq.

        Args:
            batch: what the provider sent.
            version: the θ to attack at, where it is not θ_seq.

        Raises:
            midstream.players.referee.PlayerError: the attacker broke its rules, and is to stop there.
            OSError: the server could not be read.
            Problem: it is at another version.
        """
        version = batch.seq if version is None else version
        self._follow(version)
        device = self.settings.device
        seen = Batch(batch.seq, pixels(batch.inputs).to(device), batch.labels.to(device))
        view = self._view(seen)
        away: BaseException | None = None
        self.before.mark()
        try:
            attacked = move(self.settings.attacker, self.player, seen, view)
            labels = relabelled(self.settings.attacker, self.player, seen, view)
        except PlayerError as error:
            if self.settings.on_error == "stop":
                raise
            self.before.back()
            pass_clean(view, error)
            attacked, labels = pixels(batch.inputs), batch.labels
        except HostError as error:
            away = error.__cause__ or error
        if away is not None:
            raise away
        return WireBatch(batch.seq, version, attacked.cpu(), labels.cpu(), view.reports)

    def _follow(self, version: int) -> None:
        if version != self._version:
            self._model.load_state_dict(self._game.parameters(version))
            self._version, self._gradient, self._step = version, None, None

    def _view(self, batch: Batch) -> View:
        assert self._version is not None
        return View(
            model=self._model,
            parameters_version=self._version,
            loss=cross_entropy,
            learning_rate=self._learning_rate,
            validation_inputs=self._validation[0],
            validation_labels=self._validation[1],
            budget=self.budget,
            seed=self._specification.seed,
            role="attacker",
            gradient_source=self._validation_gradient,
            step_source=self._training_step,
            batch_source=lambda count: self._upcoming(batch, count),
        )

    def _ground(self) -> Ground:
        return Ground(
            validation_inputs=pixels(self._validation[0]),
            validation_labels=self._validation[1],
            classes=self.classes,
            budget=self.budget,
            learning_rate=self._learning_rate,
            batch_size=self._specification.batch_size,
            seed=self._specification.seed,
            role="attacker",
            model_source=self._new_model,
            train_source=self._train,
        )

    def _built(self) -> nn.Module:
        model = build_model(
            self._described["model"],
            self.input_shape,
            self.classes,
            batch_norm=self._specification.batch_norm,
            allowed=self.settings.allowed,
        )
        return model.to(self.settings.device).eval()

    def _few(self) -> Tensor:
        return pixels(self._validation[0][:FEW])

    def _new_model(self) -> nn.Module:
        model = self._built()
        remember(model, self._few(), self._order)
        return model

    def _train(self) -> tuple[Tensor, Tensor]:
        train, device = self._possessed().train, self.settings.device
        return train.pixels().to(device), train.labels.to(device)

    def _possessed(self) -> BatchSource:
        if self._batches is None:
            with _hosting():
                split = load_split(
                    self._specification,
                    self.settings.source,
                    allowed=self.settings.allowed,
                    dataset_sha256=self._game.dataset_sha256(),
                )
            self._batches = BatchSource(self._specification, split.train)
        return self._batches

    def _upcoming(self, batch: Batch, count: int) -> list[Batch]:
        return UpcomingBatches(self._possessed()).after(batch, count)

    def _training_step(self) -> TrainingStep:
        if self._step is None:
            assert self._version is not None
            with _hosting():
                found = self._game.training_step(self._version)
            self._step = found.with_moments(
                {moment: self._laid_out(of) for moment, of in found.moments.items()}
            )
        return self._step

    def _validation_gradient(self) -> Gradient:
        if self._gradient is None:
            assert self._version is not None
            if self.settings.gradient == "server":
                with _hosting():
                    found = self._game.validation_gradient(self._version)
                self._gradient = self._laid_out(found)
            else:
                self._gradient = validation_gradient(self._model, *self._validation)
        return self._gradient

    def _laid_out(self, read: Gradient) -> Gradient:
        # On a wire tensors lose order and layout, which the order of a sum, and so its low bits, go by.
        parameters = trainable(self._model).items()
        return along(read, {name: value for name, value in parameters if name in read})


@contextmanager
def _hosting() -> Iterator[None]:
    try:
        yield
    except (OSError, Problem, DatasetError, plugins.PluginError) as error:
        # The server is away, or further on; or the data set is not here, or not the run's.
        raise HostError(str(error)) from error


def budget_of(specification: Specification, settings: AttackSettings) -> Budget:
    """Return the attacker's ball, and the run's pixel range."""
    epsilon = defaults(specification.dataset)["epsilon"] if settings.epsilon is None else settings.epsilon
    return Budget(epsilon, settings.norm or specification.norm, *pixel_bounds(specification.pixel_range))
