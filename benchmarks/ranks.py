"""(l) Two ranks of one thread each, compared with one process of one thread.

Timed is a level-1 step of ResNet-18: the validation gradient, attack, defence and the gradients of the step.
Rank 0 takes turns with itself: it computes a step alone while the other rank sleeps, and then with it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn

from benchmarks.measure import Row, interleaved
from midstream.mathematics.derivatives.chunk_size import choose_chunk_size
from midstream.mathematics.derivatives.gradients import CHUNK, mixed_derivative, validation_gradient
from midstream.run.optimizing.descent import Descent
from midstream.run.ranks.here import Reduce, share
from midstream.run.ranks.opening import ranks
from midstream.run.ranks.work import Description
from midstream.web.hosting import listen

_MODEL = "resnet18,norm=group"
_SHAPE = (3, 32, 32)
_WHOLE = 5_000
"""Validation images of the whole measurement; minibatch and chunk shrink with a smaller number."""
_BATCH = 128
_WORLD = 2
_AT_LEAST = 1.7
_MODES: tuple[Reduce, ...] = ("sum", "exact")


def rows(turns: int, size: int) -> list[Row]:
    """Return how many times faster two ranks are, for each way of adding up.

    Args:
        turns: how often each of the two is timed, after one untimed turn.
        size: number of validation images.
    """
    found = []
    for mode in _MODES:
        seconds = _timed(mode, turns, size)
        gain = seconds["alone"] / seconds["shared"]
        found.append(
            Row(
                f"(l) two ranks against one process, ResNet-18, {size:,} validation images, --reduce {mode}",
                f"{gain:.2f}x ({seconds['alone']:.2f} s, {seconds['shared']:.2f} s)",
                f"at least {_AT_LEAST}x",
                gain >= _AT_LEAST,
            )
        )
    return found


def _timed(mode: Reduce, turns: int, size: int) -> dict[str, float]:
    with listen("127.0.0.1", 0, None) as reserved:
        port = reserved.getsockname()[1]
    common = {"WORLD_SIZE": str(_WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ranks", "--turns", str(turns), "--size", str(size), mode],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(_WORLD)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"the ranks ended with {[process.returncode for process in started]}")
    seconds: dict[str, float] = json.loads(said[0])
    return seconds


@click.command()
@click.option("--turns", type=int, required=True)
@click.option("--size", type=int, required=True)
@click.argument("mode", type=click.Choice(_MODES))
def rank(turns: int, size: int, mode: Reduce) -> None:
    """Time the steps; a process of `torchrun` or of `rows`."""
    with ranks(device="cpu", threads=1, precision="float32", reduce=mode, allowed=None) as plays:
        if plays:
            click.echo(json.dumps(_seconds(turns, size)))


def _seconds(turns: int, size: int) -> dict[str, float]:
    length, chunk = max(_BATCH * size // _WHOLE, 8), max(CHUNK * size // _WHOLE, 2)
    description = Description(_MODEL, _SHAPE, 10, "refuse", length, 0, "reverse-over-forward")
    device = torch.device("cpu")
    drawn = torch.Generator().manual_seed(0)
    validation = torch.randint(0, 256, (size, *_SHAPE), generator=drawn, dtype=torch.uint8)
    labels = torch.randint(0, 10, (size,), generator=drawn)
    batch = torch.rand(length, *_SHAPE, generator=drawn), torch.randint(0, 10, (length,), generator=drawn)

    def step(model: nn.Module, descent: Descent) -> Callable[[], object]:
        def taken() -> object:
            v = validation_gradient(model, validation, labels)
            moved = batch[0] - 1e-3 * mixed_derivative(model, *batch, v)
            moved = moved + 1e-3 * mixed_derivative(model, moved, batch[1], v)
            return descent.gradients(moved, batch[1])

        return taken

    found = {}
    for name in ("alone", "shared"):
        model = description.built(device, None)
        descent = Descent(model)
        description.settle(model, device)
        choose_chunk_size(model, chunk)
        if name == "shared":
            share(model, description.written(), (validation, labels))
        found[name] = step(model, descent)
    return interleaved(found, device, turns, ahead=0, timed=1)


if __name__ == "__main__":
    rank()
