"""What a call of `midstream.Defender` costs in a training loop, for a few networks.

    python -m benchmarks.own_loop [--device cuda]

The batch has 100 examples, and 200 are trusted. Times are medians of a few steps, after the first one, in
which calls and steps take turns. On a CPU they are CPU time, which a busy machine changes less.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream import Defender
from midstream.networks.classifiers import digits_cnn
from midstream.networks.resnet import resnet18
from midstream.networks.vision_transformer import vit_tiny

BATCH, TRUSTED, STEPS = 100, 200, 5

NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[tuple[int, ...]], nn.Module]]] = {
    "the CNN of the demo, 8×8": ((1, 8, 8), lambda shape: digits_cnn(shape, 10)),
    "ResNet-18 with group norm, a quarter as wide, 32×32": (
        (3, 32, 32),
        lambda shape: resnet18(shape, 10, norm="group", width=16),
    ),
    "the same with batch norm": ((3, 32, 32), lambda shape: resnet18(shape, 10, width=16)),
    "a vision transformer, 6 layers of 96, 32×32": (
        (3, 32, 32),
        lambda shape: vit_tiny(shape, 10, width=96, depth=6),
    ),
}


def batch(count: int, shape: tuple[int, ...], device: str) -> tuple[Tensor, Tensor]:
    return torch.rand(count, *shape).to(device), (torch.arange(count) % 10).to(device)


def measure(name: str, device: str) -> str:
    """Return a row of the table."""
    torch.manual_seed(0)
    shape, build = NETWORKS[name]
    model = build(shape).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x, y = batch(BATCH, shape, device)
    defender = Defender(model, *batch(TRUSTED, shape, device), epsilon=0.5)
    clock = time.process_time if device == "cpu" else time.perf_counter
    calls, steps = [], []
    for _ in range(STEPS + 1):
        start = clock()
        corrected = defender(x, y)
        report = defender.report()  # waits for a GPU
        middle = clock()
        optimizer.zero_grad()
        F.cross_entropy(model(corrected), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        calls.append(middle - start)
        steps.append(clock() - middle)
    call, step = median(calls[1:]), median(steps[1:])
    share = report.seconds_v / (report.seconds_v + report.seconds_correction)
    return (
        f"| {name} | {report.order} | {1000 * step:.1f} ms | {1000 * call:.1f} ms | {call / step:.1f}× | "
        f"{share:.0%} | {calls[0] - call:.1f} s |"
    )


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser()
    words.add_argument("--device", default="cpu")
    device = words.parse_args().device
    torch.set_num_threads(1)
    print("| network | derivatives | a step | a call | call / step | v's share of it | first call, more |")
    print("|---|---|---|---|---|---|---|")
    for name in NETWORKS:
        print(measure(name, device), flush=True)


if __name__ == "__main__":
    main()
