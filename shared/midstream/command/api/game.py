"""`midstream.Game`: a game step by step."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Unpack

from torch import nn

from midstream.command.api.result import GameResult
from midstream.command.api.settings import Settings, plan_from, signature
from midstream.command.games.game import Follow, GameError, as_game_errors
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.games.over_http import HttpPipeline
from midstream.command.games.pipeline import GameStep, Pipeline
from midstream.console.progress import Progress


class Game:
    """A game that takes each step when it is asked for.

    Leaving the context before the last step ends the game with a checkpoint. A game with the same settings,
    `run` and `out` goes on from there, as `midstream.play` does.

    Over HTTP, this process is the data provider. It sees what the wire shows a provider: a step's `attacked`
    and `defended` are None, and `model` is a copy that is read from the server.

    Args:
        follow: called with the progress while a player learns before the game, `(steps done, total steps,
            text)`; by default it is shown on standard error.
        settings: those of `midstream.play`.

    Raises:
        midstream.MidstreamError: a setting is wrong.

    >>> from tempfile import mkdtemp
    >>> with Game(attacker="level-1", defender="level-1", max_steps=3, out=mkdtemp()) as game:
    ...     for step in game:
    ...         moved = (step.attacked - step.clean).flatten(1).norm(dim=1)
    ...         print(step.seq, bool((moved <= 1.5 + 1e-5).all()), step.metrics["epoch"])
    0 True 0
    1 True 0
    2 True 0
    >>> game.result.steps
    3
    """

    def __init__(self, *, follow: Follow | None = None, **settings: Unpack[Settings]) -> None:
        self._plan, resume = plan_from(settings)
        self._follow = follow
        self._result = self._plan.finished() if resume else None
        self._pipeline: Pipeline | None = None
        self._undo = ExitStack()

    def __enter__(self) -> "Game":
        if self._result is not None:
            return self  # the game in the folder is over
        with as_game_errors(), ExitStack() as stack:
            follow = self._follow or _shown(stack.enter_context(Progress(0, label=self._plan.name)))
            if self._plan.transport == "local":
                self._pipeline = self._undo.enter_context(LocalPipeline(self._plan, follow))
            else:
                self._pipeline = self._undo.enter_context(HttpPipeline(self._plan, follow))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._undo.__exit__(kind, error, trace)
        finally:
            if self._pipeline is not None and self._pipeline.result is not None:
                self._result = self._plan.outcome(self._pipeline.result)
            self._pipeline = None

    def __iter__(self) -> Iterator[GameStep]:
        """Take the remaining steps, each when it is asked for.

        Raises:
            midstream.MidstreamError: a player failed, or the training diverged.
        """
        if self._result is None:
            yield from self._live().steps()

    @property
    def name(self) -> str:
        """The run's name."""
        return self._plan.name

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._plan.folder

    @property
    def step(self) -> int:
        """Steps taken: the version of the live parameters."""
        return self._live().step if self._result is None else self._result.steps

    @property
    def total_steps(self) -> int:
        """Steps of the whole game."""
        return self._live().total_steps if self._result is None else self._result.steps

    @property
    def model(self) -> nn.Module:
        """The model at the live parameters, in evaluation mode; it must not be changed.

        Raises:
            midstream.protocol.problem.Problem: the game is black-box and over HTTP, which hides the model.
        """
        return self._live().model() if self._result is None else self._result.model()

    def accuracy(self) -> float:
        """Return the test accuracy at the live parameters, in [0, 1]."""
        return self._live().accuracy() if self._result is None else self._result.test_accuracy

    @property
    def result(self) -> GameResult:
        """The result of the finished game.

        Raises:
            midstream.command.games.game.GameError: the game has steps left.
        """
        if self._result is not None:
            return self._result
        if self._pipeline is not None and self._pipeline.result is not None:
            return self._plan.outcome(self._pipeline.result)
        done = "" if self._pipeline is None else f" after step {self.step} of {self.total_steps}"
        raise GameError(
            f"run {self.name!r} is not finished{done}; go on with the same settings and run={self.name!r}"
        )

    def _live(self) -> Pipeline:
        if self._pipeline is None:
            raise GameError(
                f"run {self.name!r} is not being played: use 'with midstream.Game(...) as game:', and the "
                f"game inside of it"
            )
        return self._pipeline


def _shown(progress: Progress) -> Follow:
    return lambda step, total, text: progress.update(step, text, total=total)


Game.__signature__ = signature()  # type: ignore[attr-defined]
