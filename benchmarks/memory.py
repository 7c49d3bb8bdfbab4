"""(e) Peak memory with few and many validation images: of a step, and of derivatives over these images."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measure import Row
from benchmarks.synthetic import split
from midstream.mathematics.derivatives.hessian import hessian_vector_product
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.unrolled import unrolled_utility_gradient
from midstream.protocol.checks import check_batch
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun

FEW, MANY = 1_000, 50_000


def rows(device: torch.device) -> list[Row]:
    none = _in_a_process_of_its_own("nothing", 0, device)
    found = []
    for name in _WORK:
        few, many = (_in_a_process_of_its_own(name, size, device) for size in (FEW, MANY))
        found.append(
            Row(
                f"(e) peak memory of {name}, {MANY:,} against {FEW:,} validation images",
                f"{many / few:.2f}× ({many:.0f} and {few:.0f} MiB; {none:.0f} before it began)",
                "within a tenth",
                abs(many / few - 1) <= 0.1,
            )
        )
    return found


def _in_a_process_of_its_own(work: str, size: int, device: torch.device) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", work, str(size), str(device)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


def _peak(work: str, validation_size: int, device: torch.device) -> int:
    if validation_size > 0:
        specification = Specification.model_validate(
            {"dataset": "mnist", "defender": "level-1", "validation_size": validation_size}
        )
        data = split(1_000, validation_size)
        _WORK[work](TrainingRun(specification, data, device=device), BatchSource(specification, data.train))
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage: its peak is inherited from the parent process.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return 1024 * int(peak[1])


def _game(run: TrainingRun, batches: BatchSource) -> None:
    attacker = AttackedRun(LocalGame(run), AttackSettings("level-1", device=run.device, allowed=None))
    for seq in range(2):
        batch = attacker.attack(batches.batch(seq))
        run.train(check_batch(batch, seq=seq, length=500, input_shape=(1, 28, 28), classes=10))


def _validation_gradient(run: TrainingRun, _: BatchSource) -> None:
    run.validation_gradient()


def _hessian_product(run: TrainingRun, _: BatchSource) -> None:
    view = run.view()
    u = {name: torch.ones_like(value) for name, value in view.model.named_parameters()}
    hessian_vector_product(view.model, view.validation_inputs, view.validation_labels, u)


def _exact_utility(run: TrainingRun, batches: BatchSource) -> None:
    view, batch = run.view(), batches.batch(0)
    x, y = pixels(batch.inputs).to(run.device), batch.labels.to(run.device)
    unrolled_utility_gradient(
        view.model, x, y, view.validation_inputs, view.validation_labels, step=view.training_step()
    )


_WORK: dict[str, Callable[[TrainingRun, BatchSource], None]] = {
    "a step": _game,
    "v": _validation_gradient,
    "a Hessian product": _hessian_product,
    "the exact utility gradient": _exact_utility,
}


if __name__ == "__main__":
    print(_peak(sys.argv[1], int(sys.argv[2]), torch.device(sys.argv[3])))
