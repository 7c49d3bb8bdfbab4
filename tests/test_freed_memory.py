"""Freed memory stays in the process, so that the next chunk of a derivative causes no page faults."""

import os
import subprocess
import sys

import pytest

from midstream.run.process.freed_memory import keep_freed_memory

pytestmark = pytest.mark.process

PROGRAM = """
import resource, threading, torch
from midstream.run.process.freed_memory import keep_freed_memory

torch.set_num_threads(1)
if {kept}:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    parts = [torch.ones(5_000_000) for _ in range(6)]  # 120 MB, in tensors of 20 MB
    del parts
    torch.ones(70_000_000)  # one tensor of 280 MB

def measure():
    for _ in range(2):
        work()
    before = faults()
    work()
    print(faults() - before)

measure()
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


def page_faults(*, kept: bool) -> list[int]:
    """Return the page faults of the work in the main thread, and in another one."""
    program = PROGRAM.format(kept=kept)
    # By default glibc adapts its thresholds. With these, it gives back what is freed at once.
    eager = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=eager, capture_output=True, text=True, check=True
    )
    return [int(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not keep_freed_memory(), reason="the allocator is not glibc's")
def test_what_was_freed_is_found_again_without_page_faults() -> None:
    assert min(page_faults(kept=False)) > 1_000
    assert max(page_faults(kept=True)) < 100
