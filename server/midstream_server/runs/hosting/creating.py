"""Creating a run while the server serves others."""

import asyncio

from midstream.protocol.specification import Specification
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.hosting.registry import Registry

_creating = asyncio.Lock()


async def create(registry: Registry, specification: Specification) -> HostedRun:
    """Create one run at a time, in a thread, and open it for batches.

    Raises:
        midstream.protocol.problem.Problem: the run cannot be created here; the problem says why.
    """
    async with _creating:
        run = await asyncio.to_thread(registry.create, specification)
    run.begin()
    return run
