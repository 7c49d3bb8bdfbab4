"""Pure functions of tensors, which a CUDA device can replay as a graph instead of being told each kernel.

A level-1 step launches thousands of small kernels, and on a fast device the host needs longer for the
launches than the device for the work. A function whose kernels and shapes are the same at each call is
captured once as a CUDA graph; a replay launches all of its kernels together.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from midstream.mathematics.graphs.capturing import one_program, switched_on, within_program

Body = Callable[..., tuple[Tensor, ...]]
"""A function of tensors that returns new tensors.

It changes nothing, draws no random numbers, never reads a tensor's value on the host, and depends on nothing
but its arguments, the tensors that its program `reads`, and what stays the same for the whole run.
"""

_GRAPHS = 2
"""Maximum number of graphs of one program: one for whole batches and one for the last batch of an epoch."""

_PROGRAMS = 32
"""Maximum number of programs of one host; further functions, as for a budget that changes, are called."""

_DEVICES = ("cuda",)
"""Types of devices that replay graphs."""


def replays(device: torch.device) -> bool:
    """Return whether functions on a device are captured, unless `switch` turned that off."""
    return switched_on() and device.type in _DEVICES


WARM_UP = 3
"""Calls of a function before its capture, as in torch's documentation."""


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one, on which graphs are captured; a new thread begins on the first.

    A function captured on another device than its tensors' would run at once, and its graph would be empty.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class CudaGraph:
    """A function captured as a CUDA graph.

    Args:
        body: the function.
        inputs: arguments of the shapes, dtypes and memory layout of all later ones, on a CUDA device.
    """

    def __init__(self, body: Body, inputs: Sequence[Tensor]) -> None:
        self._inputs = [one.clone() for one in inputs]
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):  # libraries allocate and choose kernels at their first calls
                body(*self._inputs)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads of a service may use the device meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = body(*self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Replay the function; its results are copies, since the next replay overwrites the graph's own."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return tuple(one.clone() for one in self._outputs)


class Program:
    """A function that is captured at the second call with inputs of one shape, and replayed from then on.

    The captured function must return the very bits that the function itself returned for the same inputs;
    otherwise, and if it cannot be captured, the function itself is called from then on.

    Args:
        body: the function.
        reads: returns the tensors that it reads besides its arguments. If one of them moves to other memory,
            all graphs are dropped, and the function is captured anew.
    """

    def __init__(self, body: Body, *, reads: Callable[[], Iterable[Tensor]] = lambda: ()) -> None:
        self._body = body
        self._reads = reads
        self._where: tuple[int, ...] = ()
        self._seen: set[object] = set()
        self._captured: dict[object, CudaGraph | None] = {}

    @property
    def graphs(self) -> int:
        """The number of graphs that are replayed."""
        return sum(graph is not None for graph in self._captured.values())

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the function returns for these inputs."""
        read = list(self._reads())
        if not all(replays(one.device) for one in (*read, *inputs)):
            return self._body(*inputs)
        where = tuple(one.data_ptr() for one in read)
        if where != self._where:  # the graphs read memory that these tensors no longer have
            self._where = where
            self._seen.clear()
            self._captured.clear()
        key = tuple((one.shape, one.stride(), one.dtype, one.device) for one in inputs)
        if key in self._captured:
            replay = self._captured[key]
            return self._body(*inputs) if replay is None else replay(inputs)
        found = self._body(*inputs)
        if key in self._seen and len(self._captured) < _GRAPHS:
            self._captured[key] = self._replay(inputs, found)
        self._seen.add(key)
        return found

    def _replay(self, inputs: Sequence[Tensor], wanted: tuple[Tensor, ...]) -> CudaGraph | None:
        log = logging.getLogger("midstream")
        try:
            with one_program(), current(wanted[0].device):
                replay = CudaGraph(self._body, inputs)
            found = replay(inputs)
        except RuntimeError as error:
            log.warning("a function cannot be captured as a CUDA graph, and is called instead: %s", error)
            return None
        same = all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
        if not same:
            log.warning("a captured function returns other bits than the function itself, which is called")
        return replay if same else None


class Programs:
    """The programs of one host, by name; a player asks for them by its view.

    Args:
        reads: the tensors that the functions read besides their arguments: those of the host's model.
        capture: whether functions may be captured; False for a host that does not know what they read.
    """

    def __init__(self, reads: Callable[[], Iterable[Tensor]] = lambda: (), *, capture: bool = True) -> None:
        self._reads = reads
        self._capture = capture
        self._programs: dict[Hashable, Program] = {}

    def __call__(self, name: str, body: Body, *inputs: Tensor, given: Hashable = ()) -> tuple[Tensor, ...]:
        """Return what a function returns.

        Args:
            name: the function's name.
            body: the function. The first one of a name is captured, so all of them must compute the same.
            inputs: its arguments.
            given: what else it depends on, such as a budget; functions given something else are others.
        """
        if not self._capture or not switched_on() or within_program():
            return body(*inputs)
        key = name, given
        if key not in self._programs:
            if len(self._programs) >= _PROGRAMS:
                return body(*inputs)
            self._programs[key] = Program(body, reads=self._reads)
        return self._programs[key](*inputs)

    def all(self) -> list[Program]:
        """Return the programs so far."""
        return list(self._programs.values())
