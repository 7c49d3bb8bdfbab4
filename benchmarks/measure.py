"""Timing, the machine's own matrix rate, and the floor that the design counts a step against."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch


@dataclass(frozen=True)
class Row:
    """One line of the report."""

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
    """Return the median seconds of each candidate, taken in turns so that all see the same machine.

    A turn is one call that is not timed and two that are, by default: what a server does ahead for its next
    step is then paid for by that step. Work in this process alone can be timed by `time.process_time`, which
    other programs on the machine disturb less.
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
                if turn > 0:  # the first turn warms up
                    times[name].append(clock() - started)
    return {name: median(values) for name, values in times.items()}


_SIZE = 2048


def matrix_product(device: torch.device) -> Callable[[], object]:
    """Return the work that the machine's rate is measured by."""
    a, b = torch.randn(_SIZE, _SIZE, device=device), torch.randn(_SIZE, _SIZE, device=device)
    return lambda: a @ b


def matrix_rate(seconds: float) -> float:
    """Return floating-point operations a second, of the seconds that one `matrix_product` took."""
    return 2 * _SIZE**3 / seconds


def forward_operations() -> int:
    """Return the floating-point operations of one forward pass of the MNIST network over one example."""
    convolutions = 24 * 24 * 16 * 25 + 8 * 8 * 64 * 16 * 25
    return 2 * (convolutions + 1024 * 64 + 64 * 10)


def floor_operations(validation_size: int, batch_size: int) -> int:
    """Return the operations of one level-1 against level-1 step.

    Three forward passes for each validation example, four for each batch example and side, three for the
    step.
    """
    return forward_operations() * (3 * validation_size + (4 + 4 + 3) * batch_size)
