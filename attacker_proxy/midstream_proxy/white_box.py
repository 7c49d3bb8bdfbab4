"""The attacker's side of a run whose parameters it can read: a copy of the model at θ_t, and the attack."""

from dataclasses import replace
from functools import cache, partial

from torch import Tensor, nn

from midstream import plugins
from midstream.mathematics.derivatives.checking.check import FEW
from midstream.mathematics.derivatives.chunk_size import choose_chunk_size
from midstream.mathematics.derivatives.functional import trainable
from midstream.mathematics.derivatives.gradients import Gradient, along
from midstream.mathematics.derivatives.known_orders import agreed_order, remember
from midstream.mathematics.graphs.program import Programs
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.players.course import Ground
from midstream.players.interface import Batch, Player, View
from midstream.players.referee import HostError, PlayerError, move, pass_clean, relabelled
from midstream.players.reporting import Say, Tell
from midstream.players.wrappers.composing import composed
from midstream.protocol.wire import WireBatch
from midstream.run.batch_norm import refuse_wrong_player
from midstream.run.batches import BatchSource
from midstream.run.model_source import ModelSource
from midstream.run.optimizing.next_step import NextStep, UnmodelledStepError
from midstream.run.pretrained.prepared import must_learn, prepare
from midstream.run.process.precision import computing, in_float32
from midstream.run.ranks.here import share_run_model
from midstream.run.replayed import replayed_validation_gradient
from midstream.run.tasks.making import task_of
from midstream.run.tasks.refusing import refuse_needs_classes
from midstream_proxy.attack import AttackSettings, Game, budget_of
from midstream_proxy.memory.before import Before, Copies, Nothing
from midstream_proxy.reading.host_errors import hosting
from midstream_proxy.reading.possessed_data import PossessedData


class AttackedRun:
    """An attacker and its copy of one run's model; used by one thread.

    An attacker that learns before the game must `prepare` before it attacks.

    Args:
        game: what can be read of the run.
        settings: the attacker's settings.
        player: the attacker itself; None makes the one that the settings name.
        batches: the run's batches; None makes them from the data set when an attacker first asks for them.

    Raises:
        midstream.plugins.PluginError: there is no such attacker, it is wrong for the run's model, or the
            model cannot be built here.
        midstream.DerivativeError: derivatives computed in the server's order are wrong on this machine.
    """

    def __init__(
        self,
        game: Game,
        settings: AttackSettings,
        *,
        player: Player | None = None,
        batches: BatchSource | None = None,
    ) -> None:
        self.settings = settings
        self.player: Player = player or plugins.make("attackers", settings.attacker)
        self.before: Before = (
            Copies(settings.attacker, self.player) if settings.on_error == "pass-clean" else Nothing()
        )
        """Restores the attacker if it fails at a batch that is forwarded anyway; a host may replace this."""
        self._game = game
        self._specification = specification = game.specification()
        self._described = described = game.model()
        self._following = NextStep.described(specification, described)
        self.task = task_of(described.task, described.loss, allowed=settings.allowed)
        self.budget = replace(budget_of(specification, settings), scale=described.scale)
        self.input_shape = tuple(described.input_shape)
        self.classes = len(described.classes)
        dval = game.validation()
        self._validation = (dval["inputs"].to(settings.device), dval["labels"].to(settings.device))
        self._models = ModelSource(
            specification,
            self.input_shape,
            self.classes,
            device=settings.device,
            model=described.model,
            allowed=settings.allowed,
        )
        self._model = self._models.first().eval()
        refuse_wrong_player("attacker", settings.attacker, self.player, self._model)
        refuse_needs_classes("attacker", settings.attacker, self.player, described.task)
        few = self._few(), self._validation[1][:FEW]
        with in_float32():
            loss = self.task.loss
            self._order = agreed_order(self._model, *few, described.derivatives, loss=loss)
        remember(computing(self._model), self._few(), self._order, loss=loss)
        self.programs = Programs(self._model.state_dict(keep_vars=True).values)
        choose_chunk_size(self._model, described.chunk_size)
        named = specification.model_copy(update={"model": described.model})
        share_run_model(self._model, named, described.classes, self._order, self._validation)
        self._version: int | None = None
        self._gradient: Gradient | None = None
        self._step: TrainingStep | None = None
        self._data = PossessedData(game, settings, batches)
        self.composed: Tensor | None = None
        """The last minibatch's inputs as the attacker composed it, before they were moved."""
        self.prepared = not must_learn(self.player)
        """Whether the attacker has learned what it must before the game."""

    def prepare(self, *, tell: Tell = lambda *_: None, say: Say = lambda _: None) -> None:
        """Have the attacker learn what it must; see `midstream.run.pretrained.prepared.prepare`.

        Args:
            tell: called with the progress; an exception that it raises interrupts the learning.
            say: called with a sentence that says where the learned state came from.

        Raises:
            midstream.run.pretrained.prepared.LearningError: the attacker could not learn what it must.
        """
        if self.prepared:
            return
        prepare(
            self.settings.attacker,
            self.player,
            self._ground(),
            run=self._specification.model_copy(update={"model": self._described.model}),
            cache=self.settings.surrogate.cache,
            tell=tell,
            say=say,
        )
        self.prepared = True

    def attack(self, batch: WireBatch, *, version: int | None = None) -> WireBatch:
        """Return the attacked batch: float32 inputs, computed at the parameters θ_seq, on the device.

        Args:
            batch: what the provider sent.
            version: the version of θ to attack at; None takes θ_seq.

        Raises:
            midstream.players.referee.PlayerError: the attacker broke its rules, and `on_error` is `stop`.
            OSError: the server could not be read.
            Problem: the server is at another version.
            RuntimeError: the attacker learns before the game, and `prepare` was not called.
        """
        if not self.prepared:
            raise RuntimeError(f"attacker {self.settings.attacker!r} has not learned yet: call prepare()")
        version = batch.seq if version is None else version
        self._follow(version)
        device = self.settings.device
        inputs = pixels(batch.inputs)
        keys = cache(partial(content_keys, inputs))  # computed once, from the host's copy
        seen = arrived = Batch(batch.seq, inputs.to(device), batch.labels.to(device), keys)
        view = self.view(seen)
        away: BaseException | None = None
        self.before.mark()
        try:
            seen = composed(self.settings.attacker, self.player, arrived, view)
            attacked = move(self.settings.attacker, self.player, seen, view)
            labels = relabelled(self.settings.attacker, self.player, seen, view)
        except PlayerError as error:
            if self.settings.on_error == "stop":
                raise
            self.before.back()
            pass_clean(view, error)
            seen = arrived
            attacked, labels = seen.inputs, seen.labels
        except HostError as error:
            away = error.__cause__ or error
        if away is not None:
            raise away
        self.composed = seen.inputs
        return WireBatch(batch.seq, version, attacked, labels, view.reports)

    def _follow(self, version: int) -> None:
        if version != self._version:
            self._model.load_state_dict(self._game.parameters(version))
            self._version, self._gradient, self._step = version, None, None

    def view(self, batch: Batch) -> View:
        """Return what the attacker sees at a batch; `attack` has brought the model up to date before."""
        assert self._version is not None
        return View(
            model=self._model,
            parameters_version=self._version,
            loss=self.task.loss,
            learning_rate=self._following.rate(self._version),
            validation_inputs=self._validation[0],
            validation_labels=self._validation[1],
            budget=self.budget,
            seed=self._specification.seed,
            role="attacker",
            gradient_source=self._validation_gradient,
            step_source=self._training_step,
            batch_source=lambda count: self._data.upcoming(batch, count),
            task=self.task.kind,
            programs=self.programs,
        )

    def _ground(self) -> Ground:
        return Ground(
            validation_inputs=pixels(self._validation[0]),
            validation_labels=self._validation[1],
            classes=self.classes,
            budget=self.budget,
            learning_rate=self._described.learning_rate,
            batch_size=self._specification.batch_size,
            seed=self._specification.seed,
            role="attacker",
            model_source=self.another_model,
            train_source=self._data.train,
            index_source=self._data.index,
        )

    def _few(self) -> Tensor:
        return pixels(self._validation[0][:FEW])

    def another_model(self) -> nn.Module:
        """Return a new model of the run's architecture; see `ModelSource.another`."""
        size, loss = self._described.chunk_size, self.task.loss
        return self._models.another(self._few(), order=self._order, chunk_size=size, loss=loss)

    def _training_step(self) -> TrainingStep:
        if self._step is None:
            assert self._version is not None
            if self._described.unmodelled is not None:
                raise UnmodelledStepError(self._described.unmodelled)
            with hosting():
                found = self._game.training_step(self._version)
            laid_out = {moment: self._laid_out(of) for moment, of in found.moments.items()}
            self._step = self._following.around(found.with_moments(laid_out), self._version)
        return self._step

    def _validation_gradient(self) -> Gradient:
        if self._gradient is None:
            assert self._version is not None
            if self.settings.gradient == "server":
                with hosting():
                    found = self._game.validation_gradient(self._version)
                self._gradient = self._laid_out(found)
            else:
                self._gradient = replayed_validation_gradient(
                    self.programs, self._model, self._validation, loss=self.task.loss
                )
        return self._gradient

    def _laid_out(self, read: Gradient) -> Gradient:
        # The wire drops the tensors' order and memory layout; both decide the order of a sum, and its bits.
        parameters = trainable(self._model).items()
        return along(read, {name: value for name, value in parameters if name in read})
