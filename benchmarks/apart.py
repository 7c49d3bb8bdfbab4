"""Work in a plain process of its own, which has none of the settings that midstream gives its processes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch


@contextmanager
def apart(
    make: Callable[[torch.device], Callable[[], object]], device: torch.device
) -> Iterator[Callable[[], float]]:
    """Give a function that does the work that `make` returns, in another process with as many threads.

    The function returns the seconds of processor time that the work took there.

    Args:
        make: makes the work on a device; a function or class at the top of a module.
        device: where to compute.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(
        target=_serve, args=(there, make, str(device), torch.get_num_threads()), daemon=True
    )
    child.start()
    there.close()

    def work() -> float:
        here.send(None)
        seconds: float = here.recv()
        return seconds

    try:
        yield work
    finally:
        here.close()
        child.join()


def _serve(
    connection: Connection, make: Callable[[torch.device], Callable[[], object]], device: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    work = make(torch.device(device))
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        began = time.process_time()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        connection.send(time.process_time() - began)
