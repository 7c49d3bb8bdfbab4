"""Timing, the machine's matrix rate, the theoretical minimum cost of a step, and a count of operations."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Row:
    """One row of the report."""

    name: str
    value: str
    bound: str = ""
    holds: bool | None = None


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    candidates: dict[str, Callable[[], object]],
    device: torch.device,
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    ahead: int = 1,
    timed: int = 2,
) -> dict[str, float]:
    """Return the median seconds of each candidate, timed in turns so that all see the same machine load.

    By default, a turn is one untimed call followed by two timed calls, so that work that a server does ahead
    for its next step is included. Work that runs only in this process can be timed by `time.process_time`,
    which other programs disturb less.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(turns + 1):
        for name, work in candidates.items():
            for _ in range(ahead):
                work()
            for _ in range(timed):
                synchronize(device)
                started = clock()
                work()
                synchronize(device)
                if turn > 0:  # the first turn is a warm-up
                    times[name].append(clock() - started)
    return {name: median(values) for name, values in times.items()}


_SIZE = 2048


def matrix_product(device: torch.device) -> Callable[[], object]:
    """Return the matrix product by which the machine's rate is measured."""
    a, b = torch.randn(_SIZE, _SIZE, device=device), torch.randn(_SIZE, _SIZE, device=device)
    return lambda: a @ b


def matrix_rate(seconds: float) -> float:
    """Return floating-point operations per second, given the seconds of one `matrix_product`."""
    return 2 * _SIZE**3 / seconds


def forward_operations() -> int:
    """Return the floating-point operations of one forward pass of the MNIST network over one example."""
    convolutions = 24 * 24 * 16 * 25 + 8 * 8 * 64 * 16 * 25
    return 2 * (convolutions + 1024 * 64 + 64 * 10)


def floor_operations(validation_size: int, batch_size: int) -> int:
    """Return the operations of one level-1 against level-1 step.

    The count is three forward passes per validation example, four per batch example and side, and three for
    the step.
    """
    return forward_operations() * (3 * validation_size + (4 + 4 + 3) * batch_size)


_READING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}
_COPYING = {Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__}


@dataclass
class Operations:
    """What some work asked torch to do.

    Attributes:
        dispatched: operations that torch dispatched. On a GPU, most of them are a kernel to launch.
        read: how often the host read a value of a tensor. On a GPU, it waits there for all work before it.
    """

    dispatched: int = 0
    read: int = 0


def operations(work: Callable[[], object]) -> Operations:
    """Count what `work` asks torch to do.

    >>> operations(lambda: bool((torch.ones(2) + 1).sum() > 3))
    Operations(dispatched=5, read=1)
    """
    counted = Operations()
    with _Methods(counted), _Dispatched(counted):
        work()
    return counted


class _Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, counted: Operations) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counted = counted

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self._counted.dispatched += 1
        self._counted.read += function.name().partition(".")[0] in _READING
        return function(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    """Counts the methods that read a tensor without an operation, or would if it were on a GPU."""

    def __init__(self, counted: Operations) -> None:
        super().__init__()
        self._counted = counted

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self._counted.read += function in _COPYING
        return function(*args, **(kwargs or {}))
