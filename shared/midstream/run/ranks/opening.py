"""Connects the ranks that `torchrun` has started."""

import ipaddress
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from midstream.mathematics.graphs.capturing import switch
from midstream.run.process.environment import configure, describe, differences
from midstream.run.process.precisions import Precision
from midstream.run.ranks.errors import LostRankError, RankError
from midstream.run.ranks.follower import Follower
from midstream.run.ranks.here import Reduce, lead
from midstream.run.ranks.leader import Leader
from midstream.run.ranks.shared_model import SharedModel
from midstream.run.ranks.watching import GONE, Watch, leave, leave_after_watch, tell
from midstream.run.ranks.wire import Wire
from midstream.run.ranks.work import Description

_CONNECT_WITHIN = timedelta(minutes=5)
_WAIT = timedelta(days=365)
"""A rank waits for the next derivative as long as a server waits for its next batch."""

_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(frozen=True)
class Place:
    """A process among those that `torchrun` has started.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        local: its number on this machine.
    """

    rank: int
    world: int
    local: int


def place() -> Place | None:
    """Return the place of this process, or None if `torchrun` did not start it together with others."""
    found = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not all(found) or "MASTER_ADDR" not in os.environ or int(found[1]) < 2:
        return None
    return Place(*map(int, found))


@contextmanager
def ranks(
    *,
    device: str,
    threads: int | None,
    precision: Precision,
    reduce: Reduce,
    allowed: Collection[str] | None,
) -> Iterator[bool]:
    """Connect this process with the other ranks, and yield whether it plays: as rank 0, or as the only one.

    Every other rank computes what rank 0 asks for; this yields False once rank 0 has ended.

    Args:
        device: as in `midstream.run.process.environment.configure`; with `auto` and `cuda`, each rank has a
            GPU of its own.
        threads: CPU threads of each rank.
        precision: the precision of all ranks.
        reduce: how they add up.
        allowed: dotted paths and files that may be loaded; None allows all.

    Raises:
        RankError: the ranks cannot be connected, or do not compute alike.
    """
    here = place()
    if here is None:
        yield True
        return
    switch(False)  # a graph could not wait for other ranks
    chosen = configure(threads=threads, device=_device_of(device, here), precision=precision)
    wire = _connected(here, by_nccl=chosen.type == "cuda" and device in ("auto", "cuda"))
    processes = _introduced(wire, chosen)

    def gone(rank: int) -> None:
        leave(GONE.format(rank, processes[rank], here.rank))

    watch = Watch(processes, gone)
    if here.rank == 0:
        with _leading(wire, chosen, reduce, watch, gone):
            yield True
        return
    _follow(wire, chosen, allowed, watch)
    yield False


def _device_of(device: str, here: Place) -> str:
    """Return the device of a rank: a GPU of its own, unless a certain device is named."""
    if device not in ("auto", "cuda") or here.local == 0 or not torch.cuda.is_available():
        return device
    if here.local >= (count := torch.cuda.device_count()):
        raise RankError(
            f"rank {here.rank} has no GPU: this machine has {count}. Start as many processes, or name one "
            f"device for all with --device"
        )
    return f"cuda:{here.local}"


def _connected(here: Place, *, by_nccl: bool) -> Wire:
    if _is_loopback(os.environ["MASTER_ADDR"]):
        for name in _INTERFACES:
            os.environ.setdefault(name, _LOOPBACK)
    try:
        dist.init_process_group("gloo", timeout=_CONNECT_WITHIN)
        texts: Any = dist.new_group(backend="gloo", timeout=_WAIT)
        tensors: Any = dist.new_group(backend="nccl", timeout=_WAIT) if by_nccl else None
    except (RuntimeError, ValueError) as error:
        raise RankError(f"rank {here.rank} cannot connect to the others: {error}") from error
    return Wire(here.rank, here.world, texts, tensors=tensors)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _introduced(wire: Wire, device: torch.device) -> dict[int, int]:
    """Return the process numbers of the other ranks on this machine, after comparing what they compute with.

    Raises:
        RankError: a rank would compute other bits than rank 0.
    """
    own = {**describe(device), "device": device.type}
    said = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "environment": own})
    found = [json.loads(wire.text(source, said)) for source in range(wire.world)]
    for rank, one in enumerate(found):
        if differing := differences(found[0]["environment"], one["environment"]):
            raise RankError(
                f"rank {rank} does not compute as rank 0 does: {'; '.join(differing)}. Give all ranks equal "
                f"settings, on equal machines"
            )
    near = {rank: one["process"] for rank, one in enumerate(found) if one["host"] == socket.gethostname()}
    return {rank: process for rank, process in near.items() if rank != wire.rank}


def _follow(wire: Wire, device: torch.device, allowed: Collection[str] | None, watch: Watch) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # rank 0 ends in good order, and then this one does
    named = None if allowed is None else frozenset(allowed)
    try:
        Follower(wire, device=device, allowed=named, say=tell).follow(watch.close)
    except LostRankError as error:
        leave_after_watch(str(error))


@contextmanager
def _leading(
    wire: Wire, device: torch.device, reduce: Reduce, watch: Watch, gone: Callable[[int], None]
) -> Iterator[None]:
    leader = Leader(wire, device=device, exact=reduce == "exact", leave=leave_after_watch)

    def share(model: nn.Module, description: Mapping[str, Any], validation: tuple[Tensor, Tensor]) -> None:
        SharedModel(leader, model, Description.read(description), validation)

    lead(share, world=wire.world, reduce=reduce)
    try:
        yield
    except KeyboardInterrupt:
        if (rank := watch.ended()) is not None:  # torchrun interrupts this one because that one has ended
            gone(rank)
        raise
    finally:
        lead(None)
        watch.close()
        leader.close()
