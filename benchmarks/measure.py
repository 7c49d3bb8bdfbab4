"""Timing, the machine's matrix rate, and the theoretical minimum cost of a step."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch


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
