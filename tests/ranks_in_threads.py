"""Ranks as threads of one process, connected by gloo over loopback: quicker to start than processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore, ProcessGroupGloo

from midstream.run.ranks.follower import Follower
from midstream.run.ranks.leader import Leader
from midstream.run.ranks.shared_model import SharedModel
from midstream.run.ranks.wire import Wire
from midstream.run.ranks.work import Description

CPU = torch.device("cpu")


class Ranks:
    """Rank 0 of a world whose other ranks are threads.

    Attributes:
        leader: rank 0.
        said: what the others said.
        left: the sentences with which rank 0 would have left.
        followers: the other ranks.
    """

    def __init__(self, leader: Leader, followers: list[Follower], said: list[str], left: list[str]) -> None:
        self.leader = leader
        self.followers = followers
        self.said = said
        self.left = left

    def shared(
        self, description: Description, validation: tuple[Tensor, Tensor]
    ) -> tuple[nn.Module, nn.Module]:
        """Return a model whose derivatives are shared, and the same model without."""
        found = []
        for _ in range(2):
            model = description.built(CPU, None).eval()
            description.settle(model, CPU)
            found.append(model)
        SharedModel(self.leader, found[0], description, validation)
        return found[0], found[1]


@contextmanager
def ranks_in_threads(world: int = 2, *, exact: bool = False) -> Iterator[Ranks]:
    """Connect ranks, and end them at the end of this context."""
    store, wires = HashStore(), {}

    def connect(rank: int) -> None:
        gloo: Any = ProcessGroupGloo  # whose stubs lack its options
        options = gloo._Options()
        options._timeout = timedelta(seconds=30)
        options._devices = [gloo.create_device(interface="lo")]
        wires[rank] = Wire(rank, world, gloo(store, rank, world, options))

    connecting = [Thread(target=connect, args=(rank,)) for rank in range(world)]
    for one in connecting:
        one.start()
    for one in connecting:
        one.join()
    said: list[str] = []
    left: list[str] = []
    leader = Leader(wires[0], device=CPU, exact=exact, leave=left.append)
    followers = [Follower(wires[rank], device=CPU, allowed=None, say=said.append) for rank in range(1, world)]
    threads = [Thread(target=follower.follow) for follower in followers]
    for one in threads:
        one.start()
    try:
        yield Ranks(leader, followers, said, left)
    finally:
        leader.close()
        for one in threads:
            one.join(30)
