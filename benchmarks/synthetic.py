"""Random data in the shapes of MNIST and of photos: the cost of a step does not depend on the content."""

import torch

from midstream.run.datasets import Dataset, Examples, Source, Split

CLASSES = tuple("0123456789")


def examples(size: int, seed: int, shape: tuple[int, int, int] = (1, 28, 28)) -> Examples:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (size, *shape), dtype=torch.uint8, generator=random)
    return Examples(inputs, torch.randint(10, (size,), generator=random))


def mnist_like(source: Source) -> Dataset:  # noqa: ARG001
    return Dataset(examples(15_000, 0), examples(100, 1), CLASSES)


def photos_like(source: Source) -> Dataset:  # noqa: ARG001
    return Dataset(examples(750, 0, (3, 256, 256)), examples(100, 1, (3, 256, 256)), CLASSES)


def split(train_size: int, validation_size: int) -> Split:
    return Split(examples(train_size, 0), examples(validation_size, 1), examples(100, 2), CLASSES)
