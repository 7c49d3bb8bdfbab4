"""One rank of a training loop with a defender; run as a process by test_loop_ranks.py."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from midstream import Defender, Gradient
from midstream.defences.own_loop.ranks import Ranks

Seen = dict[str, Tensor]


def network(*, batch_norm: bool) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Linear(6, 8), norm, nn.ReLU(), nn.Linear(8, 3))


def defender(model: nn.Module) -> Defender:
    random = torch.Generator().manual_seed(1)
    return Defender(model, torch.rand(21, 6, generator=random), torch.arange(21) % 3, epsilon=0.3)


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(10, 6, generator=torch.Generator().manual_seed(2)), torch.arange(10) % 3


def part_of(rank: int, ranks: int) -> tuple[Tensor, Tensor]:
    x, y = batch()
    return x.chunk(ranks)[rank], y.chunk(ranks)[rank]


def flat(gradients: list[Tensor | None]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def refusal(one: Defender, x: Tensor, y: Tensor) -> Tensor:
    try:
        one(x, y)
    except ValueError as error:
        return torch.tensor(list(str(error).encode()))
    return torch.empty(0)


def look(rank: int, ranks: int) -> Seen:
    """Return what a rank sees."""
    x, y = part_of(rank, ranks)
    plain = defender(DistributedDataParallel(network(batch_norm=False)))
    seen = {"plain": plain(x, y)}
    broken = x * float("nan") if rank == 0 else x
    seen["refusal"] = refusal(plain, broken, y)
    seen["plain_again"] = plain(x, y)
    wrapper = DistributedDataParallel(network(batch_norm=True))
    one = defender(wrapper)
    wrapper(x)  # the ranks' running statistics are different from now on
    seen["running_mean"] = wrapper.module[1].running_mean.clone()
    seen["v"] = v_of(one, x, y)
    corrected = one(x, y)
    F.cross_entropy(wrapper(corrected), y).backward()  # type: ignore[no-untyped-call]
    seen["gradient"] = flat([parameter.grad for parameter in wrapper.parameters()])
    alone = wrapper.module
    own = torch.autograd.grad(F.cross_entropy(alone(corrected), y), list(alone.parameters()))
    seen["own_gradient"] = flat(list(own))
    synchronised = nn.Sequential(nn.Linear(6, 3), nn.SyncBatchNorm(3))
    seen["synchronised"] = refusal(defender(synchronised), x, y)
    return seen


def v_of(one: Defender, x: Tensor, y: Tensor) -> Tensor:
    """Return the validation gradient that a call uses."""
    found: list[Gradient] = []
    summed = Ranks.summed

    def recorded(self: Ranks, gradient: Gradient) -> Gradient:
        found.append(summed(self, gradient))
        return found[-1]

    Ranks.summed = recorded  # type: ignore[method-assign]
    one(x, y)
    Ranks.summed = summed  # type: ignore[method-assign]
    return flat(list(found[0].values()))


if __name__ == "__main__":
    folder, ranks, rank = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    torch.save(look(rank, ranks), folder / f"{rank}.pt")
    distributed.destroy_process_group()
