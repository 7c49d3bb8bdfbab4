"""`midstream …` as several ranks, each a process with the environment that `torchrun` gives it."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.commands import Program
from services.loopback import unused_url


@contextmanager
def ranks(folder: Path, *arguments: str, world: int = 2) -> Iterator[list[Program]]:
    """Start the ranks, and end them at the end of this context.

    Args:
        folder: where they run, and where what they say is kept.
        arguments: behind `midstream`.
        world: how many there are.
    """
    with unused_url() as meeting, ExitStack() as stack:
        port = meeting.rpartition(":")[2]
        yield [
            stack.enter_context(
                Program(
                    folder,
                    "env",
                    *(f"RANK={rank}", f"LOCAL_RANK={rank}", f"WORLD_SIZE={world}"),
                    *(
                        "MASTER_ADDR=127.0.0.1",
                        f"MASTER_PORT={port}",
                        "OMP_NUM_THREADS=1",
                    ),
                    *(sys.executable, "-m", "midstream.command.main", *arguments),
                    name=f"rank-{rank}",
                )
            )
            for rank in range(world)
        ]
