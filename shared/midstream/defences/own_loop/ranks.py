"""The ranks of a `DistributedDataParallel` model share the validation gradient and refuse together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from midstream.mathematics.derivatives.gradients import Gradient


@dataclass(frozen=True)
class Ranks:
    """The ranks among which a model's examples are divided.

    Each takes the gradient of its part of the validation loss, and an all-reduce adds the parts up. So v is
    the same on all ranks, to the bit. It would not be if each rank took all of v: the running statistics of
    batch norm differ from rank to rank until the next forward pass of the wrapper.

    Attributes:
        group: the process group of the wrapper.
        count: number of ranks.
        rank: this one.
    """

    group: Any
    count: int
    rank: int

    def part(self, examples: Tensor) -> Tensor:
        """Return this rank's part of the validation inputs or labels: one example in `count`.

        Raises:
            ValueError: there are fewer examples than ranks.
        """
        if len(examples) < self.count:
            raise ValueError(f"{len(examples)} validation examples for {self.count} ranks; give more")
        return examples[self.rank :: self.count]

    def agree(self, refusal: Exception | None, device: torch.device) -> None:
        """Raise on every rank if one rank refuses its part, so that no rank waits for it.

        Args:
            refusal: this rank's own error, which is raised here; None if there is none.
            device: where the group's tensors must be.
        """
        refusing = torch.tensor([float(refusal is not None)], device=device)
        distributed.all_reduce(refusing, group=self.group)
        if refusal is not None:
            raise refusal
        if refusing.item():
            raise ValueError(
                f"{int(refusing.item())} of {self.count} ranks refused their part of the batch; their errors "
                f"say why"
            )

    def summed(self, gradient: Gradient) -> Gradient:
        """Return the sum of all ranks' gradients."""
        flat = torch.cat([value.flatten() for value in gradient.values()])
        distributed.all_reduce(flat, group=self.group)
        parts = torch.split(flat, [value.numel() for value in gradient.values()])
        return _like(gradient, parts)


def _like(gradient: Gradient, parts: tuple[Tensor, ...]) -> Mapping[str, Tensor]:
    return {
        name: part.reshape(value.shape).to(value.dtype)
        for (name, value), part in zip(gradient.items(), parts, strict=True)
    }


def ranks_of(model: nn.Module) -> Ranks | None:
    """Return the ranks of a `DistributedDataParallel` model; None without one, or with one rank."""
    while not isinstance(model, nn.parallel.DistributedDataParallel):
        if not isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            return None
        model = inner  # torch.compile around the wrapper
    group = model.process_group
    count = distributed.get_world_size(group)
    return Ranks(group, count, distributed.get_rank(group)) if count > 1 else None
