"""The base of the generative defences: a network, pretrained on Dval, that purifies images."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.mathematics.budget import Budget
from midstream.mathematics.level_k import check_steps
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View

N = TypeVar("N", bound=nn.Module)


@dataclass(kw_only=True)
class Purifier:
    """A defender that replaces each image by the output of a network, within its budget.

    The network uses pixels between 0 and 1, whatever the budget's pixel range.

    Args:
        steps: number of training steps.
        batch_size: images of Dval in each training step, drawn at random.
        learning_rate: Adam's learning rate at the first training step.
    """

    steps: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        check_steps(min(self.steps, self.batch_size), self.learning_rate)

    def course(self, ground: Ground) -> Course:
        """Return the network's training."""
        raise NotImplementedError

    def purify(self, images: Tensor, batch: Batch, view: View) -> Tensor:
        """Return the purified images; input and output pixels lie between 0 and 1."""
        raise NotImplementedError

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations from the inputs to the network's outputs."""
        images = unit_range(batch.inputs, view.budget)
        purified = self.purify(images, batch, view).to(images)
        return (view.budget.high - view.budget.low) * (purified - images)


def unit_range(inputs: Tensor, budget: Budget) -> Tensor:
    """Return images with pixels between 0 and 1.

    Raises:
        ValueError: the inputs are not images.

    >>> unit_range(torch.full((1, 1, 1, 2), 0.5), Budget(1.0, low=-1.0)).tolist()
    [[[[0.75, 0.75]]]]
    """
    if inputs.dim() != 4:
        raise ValueError(
            f"a purifier needs images, (examples, channels, height, width), not inputs of shape "
            f"{tuple(inputs.shape)}"
        )
    return (inputs - budget.low) / (budget.high - budget.low)


def drawn(count: int, *tensors: Tensor) -> list[Tensor]:
    """Return rows drawn with replacement from torch's random numbers, the same rows of each tensor."""
    rows = torch.randint(len(tensors[0]), (count,)).to(tensors[0].device)
    return [tensor[rows] for tensor in tensors]


def randomly_perturbed(inputs: Tensor, budget: Budget) -> Tensor:
    """Return `clamp(z + ε e(n))` for each input z, with n normal from torch's random numbers.

    >>> moved = randomly_perturbed(torch.full((2, 1, 8, 8), 0.5), Budget(0.25))
    >>> (moved - 0.5).flatten(1).norm(dim=1).round(decimals=4)
    tensor([0.2500, 0.2500])
    """
    return budget.perturb(inputs, budget.epsilon * budget.direction(torch.randn_like(inputs)))


def slow_down(optimizer: Optimizer, learning_rate: float, number: int, steps: int) -> None:
    """Set a learning rate that falls linearly to 0 after the last step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * (1 - number / steps)


def learned(network: N | None) -> N:
    """Return the network if it is trained.

    Raises:
        RuntimeError: there is no network yet.
    """
    if network is None:
        raise RuntimeError(
            "this defence learns before the game, and has not: its host must take the steps of its course, "
            "as midstream.players.course.learn(player, ground) does"
        )
    return network
