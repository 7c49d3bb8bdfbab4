"""What travels between ranks: texts and tensors, each from one rank to all others, and no pickle."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from midstream.run.ranks.errors import LostRankError


class Work(Protocol):
    """A broadcast on its way."""

    def wait(self) -> bool:
        """Wait until it has arrived."""


class Group(Protocol):
    """The part of a `torch.distributed` process group that is used here."""

    def broadcast(self, tensor: Tensor, root: int) -> Work:
        """Send a tensor from one rank to all others, which receive it in place."""


class Wire:
    """One rank's connection to all others. All ranks call the same methods in the same order.

    Args:
        rank: the number of this rank, from 0.
        world: how many ranks there are.
        texts: the group for texts and flags, which are on the CPU.
        tensors: the group for tensors; None takes that for texts.
    """

    def __init__(self, rank: int, world: int, texts: Group, *, tensors: Group | None = None) -> None:
        self.rank = rank
        self.world = world
        self._texts = texts
        self._tensors = texts if tensors is None else tensors

    def text(self, source: int, text: str = "") -> str:
        """Return the text of one rank, on every rank.

        Raises:
            LostRankError: a connection broke.
        """
        content = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        length = torch.tensor([len(text.encode())])
        _sent(self._texts, length, source)
        if self.rank != source:
            content = torch.empty(max(int(length), 1), dtype=torch.uint8)
        _sent(self._texts, content, source)
        return bytes(content[: int(length)].tolist()).decode()

    def tensor(self, source: int, tensor: Tensor) -> None:
        """Overwrite a contiguous tensor by that of one rank.

        Raises:
            LostRankError: a connection broke.
        """
        if tensor.numel():
            _sent(self._tensors, tensor, source)

    def flags(self, own: bool) -> list[bool]:
        """Return a flag of each rank, on every rank.

        Raises:
            LostRankError: a connection broke.
        """
        found = [torch.tensor([own], dtype=torch.uint8) for _ in range(self.world)]
        for source, flag in enumerate(found):
            _sent(self._texts, flag, source)
        return [bool(flag) for flag in found]


def _sent(group: Group, tensor: Tensor, source: int) -> None:
    try:
        group.broadcast(tensor, root=source).wait()
    except RuntimeError as error:  # of which torch.distributed.DistBackendError is one
        raise LostRankError(f"the connection between the ranks broke: {error}") from error


def packed(tensors: Iterable[Tensor]) -> Tensor:
    """Return the bytes of tensors, one after the other; they are on one device.

    >>> packed([torch.tensor([1.0, 2.0]), torch.tensor(3, dtype=torch.uint8)]).shape
    torch.Size([9])
    """
    with torch.no_grad():
        return torch.cat([one.detach().contiguous().view(-1).view(torch.uint8) for one in tensors])


def unpacked(content: Tensor, likes: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors that were `packed`, shaped like these.

    >>> unpacked(packed([torch.tensor([1.0, 2.0])]), [torch.zeros(2)])
    [tensor([1., 2.])]
    """
    sizes = [like.numel() * like.element_size() for like in likes]
    return [
        part.clone().view(like.dtype).view(like.shape)  # a copy, since a view must be aligned
        for part, like in zip(torch.split(content, sizes), likes, strict=True)
    ]


def byte_count(likes: Iterable[Tensor]) -> int:
    """Return the number of bytes of `packed` tensors."""
    return sum(like.numel() * like.element_size() for like in likes)
