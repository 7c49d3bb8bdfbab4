"""Sums and rows over all ranks. A sum is added up in the order of the ranks, on one rank after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from midstream.mathematics.sharing.spans import Span
from midstream.run.ranks.wire import Wire


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return the values of tensors as one vector, in the order of their indices.

    >>> flat([torch.tensor(1.0), torch.ones(2, 2)])
    tensor([1., 1., 1., 1., 1.])
    """
    return torch.cat([one.detach().reshape(-1) for one in tensors])


def unflat(vector: Tensor, likes: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors that `flat` joined, each in the memory layout of its `like`."""
    parts = torch.split(vector, [like.numel() for like in likes])
    return [
        torch.empty_like(like).copy_(part.view(like.shape)) for part, like in zip(parts, likes, strict=True)
    ]


def added(wire: Wire, parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return `((p_0 + p_1) + p_2) + …` over the parts of all ranks, those of rank 0 first.

    The sum so far goes from rank to rank, and each adds its parts to it one by one. So all ranks have the
    same bits, which do not depend on how an all-reduce of a library divides the sum.

    Args:
        wire: the connection.
        parts: this rank's parts, in order; rank 0 has at least one.
        like: a vector of the same shape, dtype and device.
    """
    total = torch.empty_like(like)
    for source in range(wire.world):
        if source == wire.rank:
            first = 0
            if source == 0:
                total.copy_(parts[0])
                first = 1
            for part in parts[first:]:
                total += part
        wire.tensor(source, total)
    return total


def joined(wire: Wire, own: Tensor, spans: Sequence[Span]) -> Tensor:
    """Return the rows of all ranks, one rank after the other, in the memory layout of this rank's rows.

    Args:
        wire: the connection.
        own: this rank's rows, as many as its span.
        spans: the rows of each rank.
    """
    found = []
    for source, (start, stop) in enumerate(spans):
        if start == stop:
            continue
        rows = own.contiguous() if source == wire.rank else own.new_empty((stop - start, *own.shape[1:]))
        wire.tensor(source, rows)
        found.append(own if source == wire.rank else laid_out(rows, channels_last=is_channels_last(own)))
    return torch.cat(found)


def is_channels_last(tensor: Tensor) -> bool:
    """Return whether images are stored channels last, and not contiguously as well."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return last and not tensor.is_contiguous()


def laid_out(tensor: Tensor, *, channels_last: bool) -> Tensor:
    """Return a contiguous tensor in this memory layout."""
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor
