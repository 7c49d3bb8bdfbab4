"""(e) Peak memory of a level-1 against level-1 step, with few and with many validation images."""

import re
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.measure import Row
from benchmarks.synthetic import split
from midstream.batches import BatchSource
from midstream.specification import Specification
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_server.checks import check_batch
from midstream_server.training import TrainingRun

FEW, MANY = 1_000, 50_000


def rows(device: torch.device) -> list[Row]:
    few, many, none = (_in_a_process_of_its_own(size, device) for size in (FEW, MANY, 0))
    return [
        Row(
            f"(e) peak memory, {MANY:,} against {FEW:,} validation images",
            f"{many / few:.2f}× ({many:.0f} and {few:.0f} MiB; {none:.0f} before it began)",
            "within a tenth",
            abs(many / few - 1) <= 0.1,
        )
    ]


def _in_a_process_of_its_own(size: int, device: torch.device) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(size), str(device)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


def _peak(validation_size: int, device: torch.device) -> int:
    if validation_size > 0:
        _play(validation_size, device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage: there a process begins with the peak of the one that started it.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return 1024 * int(peak[1])


def _play(validation_size: int, device: torch.device) -> None:
    data = split(1_000, validation_size)
    specification = Specification.model_validate(
        {"dataset": "mnist", "defender": "level-1", "validation_size": validation_size}
    )
    run = TrainingRun(specification, data, device=device)
    attacker = AttackedRun(LocalGame(run), AttackSettings("level-1", device=device, allowed=None))
    batches = BatchSource(specification, data.train)
    for seq in range(2):
        batch = attacker.attack(batches.batch(seq))
        run.train(check_batch(batch, seq=seq, length=500, input_shape=(1, 28, 28), classes=10))


if __name__ == "__main__":
    print(_peak(int(sys.argv[1]), torch.device(sys.argv[2])))
