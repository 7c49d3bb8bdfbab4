"""A game of `play --transport local` on synthetic data, step by step."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from midstream.command.games.game import GamePlan
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.games.side_by_side import SideBySide
from midstream.protocol.specification import Specification
from midstream.run.process.precisions import Precision

DATASET = f"{Path(__file__).with_name('synthetic.py')}:mnist_like"


@dataclass(frozen=True)
class Sizes:
    """Sizes of a game on MNIST's network."""

    validation: int = 5_000
    batch: int = 500

    def specification(self, defender: str, **settings: Any) -> Specification:
        own: dict[str, Any] = {"dataset": DATASET, "model": "mnist-cnn", "defender": defender, "name": "game"}
        own |= {"validation_size": self.validation, "batch_size": self.batch, "train_size": 10 * self.batch}
        own |= {"epochs": 100_000, "epsilon": 3.0, "evaluate_every": 1_000_000}
        return Specification.model_validate(own | settings)


def plan(
    specification: Specification,
    attacker: str,
    device: torch.device,
    out: str,
    precision: Precision = "float32",
) -> GamePlan:
    return GamePlan(
        specification,
        attacker,
        specification.budget,
        transport="local",
        out=Path(out),
        device=str(device),
        threads=torch.get_num_threads(),
        precision=precision,
    )


class LocalSteps:
    """Takes one step of a game per call; the first steps, which are captured, are taken already."""

    def __init__(
        self,
        specification: Specification,
        attacker: str,
        device: torch.device,
        precision: Precision = "float32",
        *,
        before: int = 4,
    ) -> None:
        # In the project folder, as run folders are: the temporary folder may be in memory.
        self._folder = TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-")
        self._pipeline = LocalPipeline(
            plan(specification, attacker, device, self._folder.name, precision), lambda *_: None
        )
        self._steps = self._pipeline.steps()
        for _ in range(before):
            self()

    def __call__(self) -> None:
        next(self._steps)

    def unrecorded(self) -> None:
        """Take a step without its record, and without the checkpoint that may be due."""
        whole = self._pipeline._whole
        assert whole.due()
        assert whole.finish(whole.launch()) is not None

    @property
    def captured(self) -> bool:
        graph = self._pipeline._whole.graph
        return graph is not None and graph.captured

    def close(self) -> None:
        self._pipeline.__exit__(None, None, None)
        self._folder.cleanup()


class GamesSideBySide:
    """Takes one step of each of several games per call, as a worker of a sweep does."""

    def __init__(self, count: int, sizes: Sizes, attacker: str, device: torch.device) -> None:
        self._folder = TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-")
        self._games = SideBySide[int, None]()
        self._taken = [0] * count
        for number in range(count):
            specification = sizes.specification("level-1", seed=number, name=f"game{number}")
            game = self._turns(number, plan(specification, attacker, device, self._folder.name))
            self._games.add(number, game, device)
        for _ in range(4):
            self()

    def _turns(self, number: int, game: GamePlan) -> Generator[None, None, None]:
        with LocalPipeline(game, lambda *_: None) as pipeline:
            for step in pipeline.turns():
                if step is None:
                    yield
                else:
                    self._taken[number] += 1

    def __call__(self) -> None:
        goal = min(self._taken) + 1
        while min(self._taken) < goal:
            list(self._games.turn())

    def close(self) -> None:
        self._games.close()
        self._folder.cleanup()
