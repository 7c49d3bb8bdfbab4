"""A game step by step over HTTP: this process provides the data, two others hold the attacker and the run."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch
from torch import nn

from midstream.command.games.game import Follow, GameError, GamePlan
from midstream.command.games.local_pipeline import say
from midstream.command.games.pipeline import GameStep
from midstream.command.games.processes import forget_attack, started
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.seeds import seeded
from midstream.protocol.signature import read_key
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.run.models import build_model
from midstream.run.tasks.making import task_of
from midstream.storage.run_files import RESULT, read_object
from midstream.storage.run_folder import METRICS
from midstream.web.client import Client
from midstream.web.link import HttpLink
from midstream_provider.push import RunEndedError, feed
from midstream_server.runs.evaluation import evaluate

_POLL = 0.01
_GIVE_UP_AFTER = 2.0


class HttpPipeline:
    """The provider's side of one game, and the processes of the other two sides.

    Args:
        plan: the game.
        follow: called with the progress while a player learns.

    Raises:
        GameError: a service ended unexpectedly.
        midstream.protocol.problem.Problem: the server refused the specification.
    """

    def __init__(self, plan: GamePlan, follow: Follow) -> None:
        self.plan = plan
        self.result: dict[str, Any] | None = None
        self._records = _Records(plan.folder / METRICS)
        with ExitStack() as undo:
            specification = plan.specification
            self._split = load_split(specification, Source(plan.data_root, plan.download))
            self._batches = BatchSource(specification, self._split.train)
            self.total_steps = specification.total_steps(len(self._split.train))
            self._game = undo.enter_context(started(plan))
            self._key = None if self._game.key is None else read_key(self._game.key)
            self._provider = Client(
                self._game.proxy_url,
                say=partial(say, "data provider"),
                give_up_after=_GIVE_UP_AFTER,
            )
            undo.callback(self._provider.close)
            undo.callback(self._records.close)
            self.step = self._game.client.run(plan.name).step
            follow(self.step, self.total_steps, "")
            self._undo = undo.pop_all()

    def __enter__(self) -> "HttpPipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.__exit__(kind, error, trace)
        if self.result is not None:
            forget_attack(self.plan)

    def steps(self) -> Iterator[GameStep]:
        """Take the remaining steps, each when it is asked for.

        Raises:
            GameError: the run failed, or a service ended unexpectedly.
            midstream_provider.push.RunEndedError: a player failed.
        """
        link = HttpLink(self._provider, self.plan.name, meanwhile=self._batches.prepare)
        try:
            for batch, answer in feed(link, self._batches, first=self.step, key=self._key):
                self.step = batch.seq + 1
                record = self._records.of(self.step, self._game.services.check)
                if self.step == self.total_steps:
                    self._finish()
                yield GameStep(
                    seq=batch.seq,
                    clean=pixels(batch.inputs),
                    labels=batch.labels,
                    attacked=None,
                    defended=None,
                    loss=answer.loss,
                    metrics=record,
                )
            if self.result is None:
                self._finish()  # a game that was killed after its last batch
        except RunEndedError as error:
            status = self._game.client.run(self.plan.name)
            if status.state != "failed":
                raise
            raise GameError(f"run {self.plan.name!r} failed: {status.reason}") from error

    def _finish(self) -> None:
        path = self.plan.folder / "result.json"
        while not path.exists():
            self._game.services.check()
            time.sleep(_POLL)
        self.result = read_object(path, RESULT)

    def model(self) -> nn.Module:
        """Return a copy of the model at the live parameters, read from the server.

        Raises:
            Problem: 403, the run is black-box.
        """
        specification = self.plan.specification
        with seeded(torch.device("cpu"), specification.seed, "model"):
            model = build_model(
                specification.model,
                tuple(self._split.test.inputs.shape[1:]),
                len(self._split.classes),
                batch_norm=specification.batch_norm,
                batch_size=specification.batch_size,
            )
        model.load_state_dict(self._game.client.parameters(self.plan.name, self.step))
        return model.eval()

    def measures(self) -> dict[str, float | None]:
        """Return the test set's measures at the live parameters, computed in this process; see `model`."""
        test, validation = self._split.test, self._split.validation
        found, _ = evaluate(
            self.model(),
            step=self.step,
            validation=(validation.inputs, validation.labels),
            test=(test.inputs, test.labels),
            target=None,
            task=task_of(self._split.task, self.plan.specification.loss),
        )
        return found.of_test()


class _Records:
    """The records that the server writes to the run folder, read as they appear."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._undo = ExitStack()
        self._file: TextIO | None = None
        self._line = ""

    def of(self, step: int, check: Callable[[], None]) -> dict[str, Any]:
        """Return the record of a step, which the server writes after its acknowledgement.

        Args:
            step: the number of the step, counted from 1.
            check: called while waiting; raises if the server has ended.
        """
        if self._file is None:
            # Not before an acknowledgement: by then a resumed server has cut its records to size.
            self._file = self._undo.enter_context(self._path.open(encoding="utf-8"))
        while True:
            more = self._file.readline()
            self._line += more
            if self._line.endswith("\n"):
                record: dict[str, Any] = json.loads(self._line)
                self._line = ""
                if record["step"] == step:
                    return record
            elif not more:
                check()
                time.sleep(_POLL)

    def close(self) -> None:
        """Close the file."""
        self._undo.close()
