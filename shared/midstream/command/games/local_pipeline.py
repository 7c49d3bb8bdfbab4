"""Provider, attacker and run of one game in this process, linked without a network."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import click
import torch
from torch import Tensor, nn

from midstream.command.games.game import Follow, GameError, GamePlan, progress_text
from midstream.command.games.held_folder import held_folder
from midstream.command.games.pipeline import GameStep
from midstream.command.games.process_settings import ProcessSettings
from midstream.command.games.whole_step import WholeStep
from midstream.mathematics.inputs.pixels import pixels
from midstream.players.remembering import give_back, memory_of, remembers
from midstream.players.reporting import Tell
from midstream.protocol.link import Link
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.run.process.environment import configure
from midstream.storage import faults
from midstream.storage.attacked import truth_file
from midstream_provider.push import RunEndedError, feed
from midstream_proxy.attack import AttackSettings
from midstream_proxy.link import AttackLink
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.black_box import attacked_run
from midstream_server.runs.link import RunLink
from midstream_server.runs.recovery.remade import open_run
from midstream_server.runs.step import Step
from midstream_server.runs.training import TrainingRun


class LocalPipeline:
    """Provider, attacker and run of one game, in this process.

    A game that was interrupted goes on from its last checkpoint. Leaving the context between two steps writes
    one.

    Args:
        plan: the game.
        follow: called with the progress while a player learns.

    Raises:
        GameError: another process plays this game.
        midstream.MidstreamError: the game cannot be played here.
    """

    def __init__(self, plan: GamePlan, follow: Follow) -> None:
        self.plan = plan
        self._undo = ExitStack()
        self._between = False
        self._sent_whole: WireBatch | None = None  # of a step that was taken whole, past the links
        with ExitStack() as undo:
            self._open(plan, follow, undo)
            self._undo = undo.pop_all()

    def _open(self, plan: GamePlan, follow: Follow, undo: ExitStack) -> None:
        self._settings = ProcessSettings()
        undo.callback(self._settings.close)
        device = configure(threads=plan.threads, device=plan.device, precision=plan.precision)
        self._settings.keep()
        specification, source = plan.specification, Source(plan.data_root, plan.download)
        split = load_split(specification, source)
        self.run = TrainingRun(
            specification, split, device=device, defender=plan.defending, gate=plan.checking
        )
        plan.refuse_taken()  # before a player learns, which may take long
        tell = self._telling(follow)
        self.run.prepare(cache=plan.surrogate.cache, tell=tell, say=partial(say, "defender"))
        self._attacked = None
        if plan.attacker != "none":
            settings = self._attack_settings(device, source)
            self._attacked = attacked_run(
                LocalGame(self.run),
                settings,
                player=plan.attacking,
                tell=tell,
                say=partial(say, "attacker"),
            )
        plan.folder.mkdir(parents=True, exist_ok=True)
        undo.enter_context(held_folder(plan.folder))
        plan.refuse_taken()
        if not plan.begun:
            plan.write_scenario()
        taking, checkpoint = open_run(
            self.run, plan.folder, attacker=self._memory, say=partial(say, "training server")
        )
        undo.callback(self._close)
        self._taking = taking
        self.recorded = taking.recorded
        if checkpoint is not None and self._attacked is not None and remembers(self._attacked.player):
            give_back(plan.attacker, self._attacked.player, checkpoint.attacker)
        self._end = RunLink(plan.name, taking)
        truth = None if self.run.gate is None else truth_file(plan.folder, plan.name)
        self._middle = (
            None
            if self._attacked is None
            else AttackLink(self._attacked, taking.rules, self._end, truth=truth)
        )
        self._batches = BatchSource(specification, split.train)
        self._whole = WholeStep(self.run, self._attacked, self._batches)
        taking.settle()  # a game that was killed after its last step has only its result to write

    def _close(self) -> None:
        try:
            if self._between and self.result is None:
                self._taking.checkpoint()  # between two steps: the game goes on from here
        finally:
            self._taking.close(over=self.result is not None)

    def _attack_settings(self, device: torch.device, source: Source) -> AttackSettings:
        plan = self.plan
        return AttackSettings(
            plan.attacker,
            plan.attack_budget.epsilon,
            plan.attack_budget.norm,
            plan.gradient,
            device,
            allowed=None,
            source=source,
            surrogate=plan.surrogate,
            on_error=plan.specification.on_error,
        )

    def _telling(self, follow: Follow) -> Tell:
        def tell(step: int, steps: int, text: str) -> None:
            follow(0, self.run.total_steps, f"{text}: step {step} of at most {steps}")

        return tell

    def _memory(self) -> dict[str, Tensor]:
        over = self.step == self.total_steps
        if over or self._attacked is None or not remembers(self._attacked.player):
            return {}
        return memory_of(self.plan.attacker, self._attacked.player)

    def __enter__(self) -> "LocalPipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    @property
    def total_steps(self) -> int:
        """Steps of the whole game."""
        return self.run.total_steps

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.run.step

    @property
    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None until the last step is taken."""
        return self.recorded.result

    @property
    def sent(self) -> WireBatch | None:
        """The last minibatch as the attacker sent it; None without an attacker, or before the first step."""
        middle = self._middle
        return None if middle is None else self._sent_whole or middle.sent

    def steps(self) -> Iterator[GameStep]:
        """Take the remaining steps, each when it is asked for.

        Raises:
            GameError: the training diverged.
            midstream_provider.push.RunEndedError: a player failed.
        """
        return (step for step in self.turns() if step is not None)

    def turns(self) -> Iterator[GameStep | None]:
        """Take the remaining steps; yield None while the device computes one that is taken whole.

        Raises:
            GameError: the training diverged.
            midstream_provider.push.RunEndedError: a player failed.
        """
        self._taking.settle()  # if a file could not be written: again, before the attacker moves on
        while self.step < self.total_steps:
            self._settings.put_in_force()
            found = self._sent_whole = None
            if self._whole.due():
                faults.reached("sending")
                launched = self._whole.launch()
                yield None
                self._settings.put_in_force()
                if (taken := self._whole.finish(launched)) is not None:
                    self._taking.took(taken, self._whole.reported())
                    self._taking.settle()
                    faults.reached("acknowledged")
                    found = taken, launched.outcome.clean
                    seq, reports = taken.step - 1, self._whole.reported()
                    self._sent_whole = WireBatch(seq, seq, taken.received, taken.labels, reports)
            taken, clean = found or self._by_links()
            self._between = True
            yield GameStep(
                seq=taken.step - 1,
                clean=clean,
                labels=taken.labels,
                attacked=taken.received,
                defended=taken.defended,
                loss=taken.loss,
                metrics=self.recorded.records[-1],
            )
            self._between = False

    def _by_links(self) -> tuple[Step, Tensor]:
        """Take the next step by the links, and return it with its clean inputs; an error names the cause."""
        link: Link = self._end if self._middle is None else self._middle
        try:
            batch, _ = next(feed(link, self._batches, first=self.step))
        except RunEndedError as error:
            if self._end.failed is None:
                raise
            raise GameError(f"run {self.plan.name!r} failed: {self._end.failed}") from error
        assert self._end.step is not None
        return self._end.step, pixels(batch.inputs)

    def model(self) -> nn.Module:
        """Return the live model."""
        return self.run.model

    def measures(self) -> dict[str, float | None]:
        """Return the measures of the test set at the live parameters, such as `test_accuracy`."""
        self._settings.put_in_force()
        return self.run.evaluate().of_test()

    def describe(self, step: GameStep) -> str:
        """Return a short progress text; see `progress_text`."""
        last = self.recorded.evaluation
        return progress_text(step.metrics["epoch"], step.loss, {} if last is None else last.of_test())


def say(who: str, text: str) -> None:
    """Print a message of one side for the operator."""
    click.echo(f"{who}: {text}", err=True)
