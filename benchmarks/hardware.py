"""The figures of one device: `python -m benchmarks --device cuda`, or the same program on a CPU, smaller."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch
import torch.nn.functional as F

from benchmarks.local_game import GamesSideBySide, LocalSteps, Sizes
from benchmarks.measure import (
    Row,
    floor_operations,
    interleaved,
    matrix_product,
    matrix_rate,
    operations,
)
from benchmarks.step import Naive
from benchmarks.synthetic import examples
from benchmarks.transport import Pipeline
from midstream.mathematics.graphs import program
from midstream.mathematics.graphs.capturing import switch, switched_on
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.specification import Specification
from midstream.run.batches import load_split
from midstream.run.datasets import Source
from midstream.run.models import build_model
from midstream.run.optimizing.one_call import arrange
from midstream.run.process.precision import choose
from midstream.run.resident import Resident

_TOGETHER = 4
"""Number of games side by side."""


def rows(device: torch.device) -> Iterator[Row]:
    """Measure every figure of a device; in five minutes on a GPU, and on two idle CPU cores."""
    gpu = device.type == "cuda"
    sizes, turns = (Sizes(), 10) if gpu else (Sizes(1_000, 100), 2)
    yield Row("validation images and batch", f"{sizes.validation:,} and {sizes.batch}")
    yield from _steps(device, sizes, turns)
    yield from _digits(device, turns)
    yield from _http(device, sizes, turns)
    yield from _side_by_side(device, sizes, turns)


def _steps(device: torch.device, sizes: Sizes, turns: int) -> Iterator[Row]:
    attacked, clean = sizes.specification("level-1"), sizes.specification("none")
    with ExitStack() as stack:

        def game(attacker: str, specification: Specification = attacked, **options: object) -> LocalSteps:
            steps = LocalSteps(specification, attacker, device, **options)  # type: ignore[arg-type]
            stack.callback(steps.close)
            return steps

        ours = game("level-1")
        candidates: dict[str, Callable[[], object]] = {
            "matrix": matrix_product(device),
            "ours": ours,
            "naive": Naive(device, sizes.validation, sizes.batch),
            "clean": game("none", clean),
            "bare": bare_loop(device, sizes),
        }
        with _called():
            called = game("level-1")
        times = interleaved(candidates, device, turns)
        with _called():
            times |= interleaved({"called": called}, device, turns)
            counted = operations(called.unrecorded)
        rate = matrix_rate(times["matrix"])
        floor = floor_operations(sizes.validation, sizes.batch) / rate
        yield Row("matrix rate in float32", f"{rate / 1e9:.0f} GFLOP/s: the floor is {floor * 1e3:.2f} ms")
        yield _ratio("level-1 against level-1, to the floor", times["ours"], floor, "6.5×, 3×")
        yield Row("… captured as one graph", "yes" if ours.captured else "no: eager")
        yield _ratio("… without capture", times["called"], floor)
        yield _ratio("the naive step to ours", times["naive"], times["ours"], "2×, 5×")
        yield _ratio("nobody against nobody, to a bare loop", times["clean"], times["bare"], "1.5×, 1.1×")
        yield Row("torch operations dispatched in a called step", f"{counted.dispatched}", "900, 500")
        yield Row("… values that the host reads in it", f"{counted.read}")
        yield Row("… in a replayed step", "1 graph, 1 read" if ours.captured else "not captured here")
        for precision in ("tf32", "bfloat16"):
            if precision == "tf32" and device.type != "cuda":
                yield Row("the step in tf32", "only with CUDA")
                continue
            steps = game("level-1", precision=precision)
            seconds = interleaved({precision: steps}, device, turns)[precision]
            choose("float32", device)
            yield _ratio(f"the step in {precision}, to the floor of float32", seconds, floor, "4×, 2×")


def _digits(device: torch.device, turns: int) -> Iterator[Row]:
    settings = {"dataset": "digits", "defender": "level-1", "epochs": 100_000, "name": "digits"}
    specification = Specification.model_validate(settings)
    before, threads = torch.get_num_threads(), min(2, torch.get_num_threads())
    torch.set_num_threads(threads)
    here, cpu = (LocalSteps(specification, "level-1", on) for on in (device, torch.device("cpu")))
    try:
        times = interleaved({"here": here, "cpu": cpu}, device, 10 * turns)
    finally:
        here.close()
        cpu.close()
        torch.set_num_threads(before)
    name = f"digits, a step on {threads} CPU threads to one on {device}"
    yield _ratio(name, times["cpu"], times["here"], "faster, 5×")


def _http(device: torch.device, sizes: Sizes, turns: int) -> Iterator[Row]:
    specification = sizes.specification("level-1")
    local = LocalSteps(specification, "level-1", device)
    try:
        with Pipeline("level-1", "server", device) as http:
            play = http.play(specification, load_split(specification, Source()))
            for _ in range(3):
                play()
            times = interleaved({"local": local, "http": play}, device, turns)
    finally:
        local.close()
    asked = "1.5×" if device.type == "cuda" else "1.05×"
    yield _ratio("a step over HTTP, three processes, to a local one", times["http"], times["local"], asked)


def _side_by_side(device: torch.device, sizes: Sizes, turns: int) -> Iterator[Row]:
    one, several = (GamesSideBySide(count, sizes, "level-1", device) for count in (1, _TOGETHER))
    try:
        times = interleaved({"one": one, "several": several}, device, turns)
    finally:
        one.close()
        several.close()
    name = f"{_TOGETHER} games one after the other to side by side in one process"
    yield _ratio(name, _TOGETHER * times["one"], times["several"], "1.5×")


def bare_loop(device: torch.device, sizes: Sizes) -> Callable[[], object]:
    """Return a function that takes a plain training step; on a GPU, it replays one graph."""
    torch.manual_seed(0)
    train = Resident(examples(10 * sizes.batch, 0), device)
    model = build_model("mnist-cnn", (1, 28, 28), 10).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0008)
    arrange(optimizer, device)
    order, number = torch.split(torch.randperm(10 * sizes.batch), sizes.batch), 0

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor]:
        loss = F.cross_entropy(model(pixels(inputs)), labels, reduction="sum")
        wanted = list(model.parameters())
        for parameter, gradient in zip(wanted, torch.autograd.grad(loss, wanted), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()
        return (loss.detach(),)

    replay: Callable[[list[torch.Tensor]], object] | None = None
    if program.replays(device):
        step(*train.batch(order[0]))
        replay = program.CudaGraph(step, train.batch(order[0]))

    def take() -> object:
        nonlocal number
        batch, number = train.batch(order[number % len(order)]), number + 1
        return step(*batch) if replay is None else replay(list(batch))

    return take


class _called(ExitStack):  # noqa: N801
    """Within this context nothing is captured."""

    def __enter__(self) -> "_called":
        self.callback(switch, switched_on())
        switch(False)
        return self


def _ratio(name: str, seconds: float, of: float, asked: str = "") -> Row:
    return Row(name, f"{seconds / of:.2f}× ({seconds * 1e3:.2f} ms, {of * 1e3:.2f} ms)", asked)
