"""A data set in one file: any function of a Source that returns a Dataset.

midstream play --dataset examples/stripes.py:stripes --epsilon 1.5 --attacker level-1
"""

import math

import torch

from midstream.run.datasets import Dataset, Examples, Source


def stripes(source: Source) -> Dataset:  # noqa: ARG001
    """Return noisy 12×12 images of stripes in four directions: 600 training and 200 test images.

    Every process of a game creates or reads the data itself, so the data must be the same each time: use a
    fixed seed. Read files from `source.root`, the user's `--data-root`.
    """
    classes = ("horizontal", "rising", "vertical", "falling")
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(800) % len(classes)
    angle = labels * math.pi / len(classes)
    phase = 2 * math.pi * torch.rand(800, generator=random)
    row, column = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    across = angle.cos()[:, None, None] * row + angle.sin()[:, None, None] * column
    images = 0.5 + 0.3 * torch.sin(across + phase[:, None, None])
    images = (images + 0.15 * torch.randn(images.shape, generator=random)).clamp(0, 1)[:, None]
    return Dataset(Examples(images[:600], labels[:600]), Examples(images[600:], labels[600:]), classes)
