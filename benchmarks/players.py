"""The cost of a step with each installed player, relative to a step with level 1.

The game is a fifth of the paper's MNIST game, 100 images per step and 1,000 validation images; the cost of a
step is proportional to both. The steps are timed in turns, so that other load on the machine affects all of
them. The pretraining of a player is timed separately: its first steps, with the paper's 5,000 validation
images, are extrapolated to all steps.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal, cast

import click
import numpy as np
import torch
from torch import nn

from benchmarks.measure import interleaved, synchronize
from benchmarks.synthetic import split
from midstream import plugins
from midstream.mathematics.derivatives.gradients import CHUNK, chunks
from midstream.mathematics.inputs.pixels import pixels
from midstream.players.checking import Gate
from midstream.players.course import Ground, begin, learners, surveyors, take_step
from midstream.players.interface import Batch, Player
from midstream.players.referee import PlayerError, move, relabelled
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream.run.datasets import Examples, Split
from midstream.run.models import build_model
from midstream_server.runs.training import TrainingRun

Side = Literal["attackers", "defenders", "checkers"]

BATCH, VALIDATION, BATCHES = 100, 1_000, 20
_LEARNED_FROM = 5_000
_LEARNING_STEPS = 3

_SPECIFICATION = Specification.model_validate(
    {"dataset": "mnist", "validation_size": VALIDATION, "batch_size": BATCH}
)

OPTIONS = {
    "level-k": "k=2",
    "conversion": "target=1",
    "evasion": "target=1",
    "cw": "iterations=50,searches=4",  # the original uses up to 90,000 gradients
}
"""Options that a player requires, or that limit its cost in a game."""


@dataclass(frozen=True)
class Cost:
    """The cost of one player.

    Attributes:
        side: `attackers`, `defenders` or `checkers`.
        player: its name and options.
        step: seconds of a step in which only this player plays; the median over the turns.
        against_level_1: ratio of `step` to that of the attacker `level-1`.
        learning: seconds of pretraining, extrapolated from its first steps; None without pretraining.
        learning_steps: number of pretraining steps.
        failed: the reason if there are no figures.
    """

    side: Side
    player: str
    step: float | None = None
    against_level_1: float | None = None
    learning: float | None = None
    learning_steps: int = 0
    failed: str | None = None


def costs(device: torch.device, turns: int, chosen: Collection[str] = ()) -> list[Cost]:
    """Return the costs of all installed players, sorted by name.

    Args:
        device: where to compute.
        turns: number of turns.
        chosen: the names to measure, beside the attacker `level-1`; all if empty.
    """
    data = _as_the_model_sees_them(split(BATCHES * BATCH, VALIDATION), device)
    ground = _with_examples_of(data, split(_LEARNED_FROM, _LEARNED_FROM))
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    found: list[Cost] = []
    steps: dict[str, Callable[[], object]] = {}
    sides: tuple[Side, ...] = ("attackers", "defenders", "checkers")
    for side in sides:
        for name in plugins.names(side):
            if chosen and name not in {*chosen, "level-1"}:
                continue
            text = written(name)
            click.echo(f"{side[:-1]} {text}", err=True)
            try:
                player = _made(side, text)
                cost = _learn(Cost(side, text), player, ground, device, clock)
                step = Step(side, text, player, data, device)
                step()
            except (plugins.PluginError, PlayerError, ArithmeticError) as error:
                cost = Cost(side, text, failed=str(error))
            else:
                steps[f"{side} {text}"] = step
            found.append(cost)
    times = interleaved(steps, device, turns, clock, ahead=0, timed=1)
    unit = times["attackers level-1"]
    return [
        cost if seconds is None else replace(cost, step=seconds, against_level_1=seconds / unit)
        for cost in found
        for seconds in (times.get(f"{cost.side} {cost.player}"),)
    ]


def _made(side: Side, text: str) -> Player | Gate:
    """Return a player; one that plays a file gets a small perturbation for each class."""
    if side == "checkers":
        return plugins.make_gate(text)
    if text != "replay":
        return cast(Player, plugins.make(side, text))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "poison.npy"
        np.save(path, np.full((10, 1, 28, 28), 0.05, dtype=np.float32))
        return cast(Player, plugins.make(side, f"{text},path={path},by=class"))


def _with_examples_of(game: Split, ground: Split) -> Split:
    """Return the data to learn from, with the examples of the game in place of its first ones."""
    inputs = torch.cat([game.train.inputs.cpu(), ground.train.inputs[len(game.train) :]])
    labels = torch.cat([game.train.labels.cpu(), ground.train.labels[len(game.train) :]])
    return replace(ground, train=Examples(inputs, labels, torch.arange(len(labels))))


def _as_the_model_sees_them(data: Split, device: torch.device) -> Split:
    """Return the data labelled by the new model, so that a search for another class has to search."""
    run = TrainingRun(_SPECIFICATION, data, device=device)
    parts = chunks(data.train.inputs, data.train.labels, CHUNK)
    labels = [label for inputs, _ in parts for label in run.predict(inputs)]
    return replace(data, train=Examples(data.train.inputs, torch.tensor(labels)))


def written(name: str) -> str:
    """Return a player's name with its options for the measurement.

    >>> written("conversion")
    'conversion,target=1'
    """
    return f"{name},{OPTIONS[name]}" if name in OPTIONS else name


class Step:
    """A game in which one player plays, step by step."""

    def __init__(
        self, side: Side, text: str, player: Player | Gate, data: Split, device: torch.device
    ) -> None:
        self.side, self.text, self.player = side, text, player
        self.run = TrainingRun(_SPECIFICATION, data, device=device)
        self.batches = BatchSource(_SPECIFICATION, data.train)
        if isinstance(player, Gate):
            self.run.gate = player
        elif side == "defenders":
            self.run.defender = player

    def __call__(self) -> None:
        batch = self._batch(self.run.step)
        if self.side == "attackers" and not isinstance(self.player, Gate):
            view = replace(self.run.view(), role="attacker", batch_source=self._upcoming)
            moved = move(self.text, self.player, batch, view)
            batch = Batch(batch.seq, moved, relabelled(self.text, self.player, batch, view))
        self.run.train(batch)

    def _batch(self, seq: int) -> Batch:
        stored = self.batches.batch(seq)
        return Batch(seq, pixels(stored.inputs).to(self.run.device), stored.labels.to(self.run.device))

    def _upcoming(self, count: int) -> list[Batch]:
        return [self._batch(self.run.step + 1 + later) for later in range(count)]


def _learn(
    cost: Cost, player: Player | Gate, data: Split, device: torch.device, clock: Callable[[], float]
) -> Cost:
    """Time a player's first pretraining steps, and add the extrapolated cost of all steps."""
    ground = _ground(cost.side, data, device)
    for surveyor in surveyors(player):
        surveyor.survey(ground)
    for learner in learners(player):
        started = clock()
        course = begin(learner, ground)
        synchronize(device)
        begun = clock() - started
        taken = []
        for number in range(min(_LEARNING_STEPS, course.steps)):
            started = clock()
            take_step(course, ground, number)
            synchronize(device)
            taken.append(clock() - started)
        cost = replace(
            cost,
            learning=(cost.learning or 0) + begun + course.steps * median(taken),
            learning_steps=cost.learning_steps + course.steps,
        )
    return cost


def _ground(side: Side, data: Split, device: torch.device) -> Ground:
    specification = Specification.model_validate({"dataset": "mnist"})

    def model() -> nn.Module:
        shape = tuple(data.train.inputs.shape[1:])
        return build_model(specification.model, shape, len(data.classes)).to(device).eval()

    return Ground(
        validation_inputs=data.validation.pixels().to(device),
        validation_labels=data.validation.labels.to(device),
        classes=len(data.classes),
        budget=specification.budget,
        learning_rate=specification.learning_rate,
        batch_size=specification.batch_size,
        seed=0,
        role=side.removesuffix("s"),
        model_source=model,
        train_source=lambda: (data.train.pixels().to(device), data.train.labels.to(device)),
        index_source=lambda: torch.arange(len(data.train)),
    )


def markdown(found: list[Cost]) -> str:
    """Return the costs as a Markdown table."""
    lines = ["| player | step, to level 1's | ms a step | learned beforehand |", "|---|---|---|---|"]
    for cost in found:
        learned = "" if cost.learning is None else f"{_spoken(cost.learning)}, {cost.learning_steps} steps"
        figures = (cost.failed or "", "", learned)
        if cost.step is not None and cost.against_level_1 is not None:
            figures = (f"{cost.against_level_1:.2f}", f"{cost.step * 1e3:.0f}", learned)
        lines.append(f"| {cost.side[:-1]} `{cost.player}` | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def as_json(found: list[Cost]) -> list[dict[str, object]]:
    """Return the costs as JSON."""
    return [asdict(cost) for cost in found]


def _spoken(seconds: float) -> str:
    """Return a duration as text, in a suitable unit.

    >>> _spoken(90), _spoken(1200), _spoken(90000)
    ('90 s', '20 min', '25 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
