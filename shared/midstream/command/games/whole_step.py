"""Takes the steps of a game in one process whole, where they are a `StepProgram`.

On a GPU the steps of whole batches are one CUDA graph. The host then reads one vector for each step, which
says whether the conditions held, and holds the numbers of the metrics.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.command.games.step_graph import StepGraph
from midstream.command.games.step_program import Outcome, StepProgram, fits
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.inputs.rows import Places, Rows
from midstream.mathematics.seeds import seeded
from midstream.run.batches import BatchSource
from midstream.run.resident import Resident
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.step import Step
from midstream_server.runs.training import TrainingRun


@dataclass(frozen=True)
class Launched:
    """A step that the device computes.

    Attributes:
        outcome: what it computes.
        inputs: the batch as it is stored, on the device.
        labels: its labels.
        places: the rows of the attacker's memory.
        started: when it was launched, by `time.perf_counter`.
        taken: whether the device takes the step, too; otherwise `WholeStep.finish` does.
    """

    outcome: Outcome
    inputs: Tensor
    labels: Tensor
    places: Places | None
    started: float
    taken: bool


class WholeStep:
    """Takes steps whole. A game's first step in a process, and its last, are taken otherwise.

    Args:
        run: the training run.
        attacked: the attack on it; None if nobody attacks.
        batches: the run's batches.
    """

    def __init__(
        self, run: TrainingRun, attacked: AttackedRun | BlackBoxRun | None, batches: BatchSource
    ) -> None:
        self.graph: StepGraph | None = None
        """The captured steps; None before the first step that is taken whole."""
        self._run, self._attacked, self._batches = run, attacked, batches
        self._steps: StepProgram | None = None
        self._keys: list[bytes] = []
        self._fits: bool | None = None

    def due(self) -> bool:
        """Return whether the next step can be taken whole."""
        run = self._run
        if run.step + 1 >= run.total_steps or not run.descent.fixed:
            return False
        if self._fits is None:
            self._fits = fits(run, self._attacked) and self._in_range()
            if self._fits:
                self._open()
        return self._fits

    def _in_range(self) -> bool:
        """Return whether all batches pass the checks of `BatchRules`."""
        train, budget = self._batches.train, self._run.specification.budget
        first, last = (int(label) for label in train.labels.aminmax())
        within = train.inputs.dtype == torch.uint8 or budget.beyond(train.inputs) is None
        return within and first >= 0 and last < len(self._run.classes)

    def _open(self) -> None:
        run, train = self._run, self._batches.train
        assert not isinstance(self._attacked, BlackBoxRun)
        self._steps = StepProgram(run, self._attacked)
        self.graph = StepGraph(self._steps, run.specification.batch_size)
        self._data = Resident(train, run.device)
        if self._steps.rows is not None:
            self._like = torch.empty((0, *run.input_shape), device=run.device)
            most = min(len(train), run.total_steps * run.specification.batch_size)
            self._steps.rows.reserve(most, like=self._like)
            self._steps.rows.stay()
            self._keys = [b""] * len(train)

    def launch(self) -> Launched:
        """Have the device compute the next step, and do not wait for it."""
        assert self._steps is not None
        assert self.graph is not None
        started, chosen = time.perf_counter(), self._batches.places(self._run.step)
        places = None if self._steps.rows is None else self._places(self._steps.rows, chosen)
        inputs, labels = self._data.batch(chosen)
        outcome = self.graph.replayed(inputs, labels, places)
        taken = outcome is not None
        if outcome is None:
            run = self._run
            with seeded(run.device, run.specification.seed, run.step, "step"):  # for layers that draw unseen
                outcome = self._steps.computed(inputs, labels, places)
        return Launched(outcome, inputs, labels, places, started, taken)

    def _places(self, rows: Rows, chosen: Tensor) -> Places:
        numbers: list[int] = chosen.tolist()
        if new := [number for number in numbers if not self._keys[number]]:
            keys = content_keys(pixels(self._batches.train.inputs[torch.tensor(new)]))
            for number, key in zip(new, keys, strict=True):
                self._keys[number] = key
        return rows.places([self._keys[number] for number in numbers], like=self._like)

    def finish(self, launched: Launched) -> Step | None:
        """Wait for a step, and return it; None if a condition does not hold, and nothing was changed."""
        assert self._steps is not None
        assert self.graph is not None
        steps, run, outcome = self._steps, self._run, launched.outcome
        values = outcome.read.tolist()
        if not all(values[: steps.conditions]):
            return None
        if not launched.taken:
            self.graph.take(outcome, launched.inputs, launched.labels, launched.places)
        run.step += 1
        *correction, loss = values[steps.conditions :]
        return Step(
            step=run.step,
            loss=loss / len(launched.labels),
            correction=correction[0] if correction else 0.0,
            seconds=time.perf_counter() - launched.started,
            received=outcome.attacked,
            defended=outcome.defended,
            labels=launched.labels,
            reported=dict(steps.reports["defender"]),
        )

    def reported(self) -> dict[str, float]:
        """Return what the attacker reports at each step."""
        assert self._steps is not None
        return dict(self._steps.reports["attacker"])
