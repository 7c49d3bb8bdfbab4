"""A `StepProgram` captured as one CUDA graph, which takes the step without the host."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from midstream.command.games.step_program import Outcome, StepProgram
from midstream.mathematics.graphs import program
from midstream.mathematics.graphs.capturing import one_program
from midstream.mathematics.inputs.rows import Places


class StepGraph:
    """Replays the steps of whole batches; the first two of them are called.

    The captured step must end in the very bits of the one that was called, and must change nothing where a
    condition does not hold. Otherwise, and if it cannot be captured, every step is called.

    Args:
        steps: the program.
        batch_size: examples of a batch that is replayed; batches of another size are called.
    """

    def __init__(self, steps: StepProgram, batch_size: int) -> None:
        self._steps = steps
        self._batch_size = batch_size
        self._graph: program.CudaGraph | None = None
        self._where: tuple[int, ...] = ()
        self._seen = 0
        self._refused = False

    @property
    def captured(self) -> bool:
        """Whether there is a graph."""
        return self._graph is not None

    def replayed(self, inputs: Tensor, labels: Tensor, places: Places | None) -> Outcome | None:
        """Have the device take a step; None if it must be called."""
        if not self._suits(labels, places):
            return None
        where = tuple(one.data_ptr() for one in self._steps.held())
        if where != self._where:  # the graph uses memory that these tensors no longer have
            self._graph, self._where, self._seen = None, where, 0
        if self._graph is None:
            return None
        opened = torch.ones((), dtype=torch.bool, device=labels.device)
        read, clean, attacked, defended = self._graph([opened, *_arguments(inputs, labels, places)])
        return Outcome(read, clean, attacked, defended)

    def take(self, outcome: Outcome, inputs: Tensor, labels: Tensor, places: Places | None) -> None:
        """Take a step that was called; capture it if it is the second one of its kind."""
        self._seen += self._suits(labels, places)
        if self._seen != 2 or not self._suits(labels, places):
            self._steps.take(outcome, places)
            return
        before = self._state(places)
        self._steps.take(outcome, places)
        after = self._state(places)
        self._restore(before, places)
        log = logging.getLogger("midstream")
        try:
            graph = self._capture(outcome, _arguments(inputs, labels, places), before, after, places)
        except RuntimeError as error:
            log.warning("the step cannot be captured as a CUDA graph, and is called instead: %s", error)
            graph = None
        else:
            if graph is None:
                log.warning("the captured step ends in other bits than the step itself, which is called")
        self._restore(after, places)
        self._graph, self._refused = graph, graph is None

    def _suits(self, labels: Tensor, places: Places | None) -> bool:
        once = places is None or places.last is None  # each row occurs once
        whole = len(labels) == self._batch_size
        return once and whole and not self._refused and program.replays(labels.device)

    def _capture(
        self,
        outcome: Outcome,
        arguments: Sequence[Tensor],
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        places: Places | None,
    ) -> program.CudaGraph | None:
        closed = torch.zeros((), dtype=torch.bool, device=arguments[0].device)
        with one_program(), program.current(closed.device):
            graph = program.CudaGraph(self._steps.gated, [closed, *arguments])
        graph([closed, *arguments])
        if not _same(self._state(places), before):
            return None
        found = graph([~closed, *arguments])
        return graph if _same(found, outcome[:4]) and _same(self._state(places), after) else None

    def _state(self, places: Places | None) -> list[Tensor]:
        """Return copies of what a step changes."""
        state = [one.detach().clone() for one in self._steps.changed()]
        if self._steps.rows is not None and places is not None:
            state.append(self._steps.rows.read(places))
        return state

    def _restore(self, state: Sequence[Tensor], places: Places | None) -> None:
        with torch.no_grad():
            for one, saved in zip(self._steps.changed(), state, strict=False):
                one.copy_(saved)
        if self._steps.rows is not None and places is not None:
            self._steps.rows.write(places, state[-1])


def _arguments(inputs: Tensor, labels: Tensor, places: Places | None) -> list[Tensor]:
    return [inputs, labels] if places is None else [inputs, labels, places.rows]


def _same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
