"""A defender in an ordinary PyTorch loop, on tampered digits.

python examples/training_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from midstream import Budget, Defender

Images = tuple[Tensor, Tensor]

EPSILON = 1.5


def digits() -> tuple[Images, Images, Images]:
    """Return trusted, training and test images."""
    bunch = load_digits()
    images = torch.tensor(bunch.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(bunch.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    trusted, streamed, tested = order[:400], order[400:1400], order[1400:]
    return (
        (images[trusted], labels[trusted]),
        (images[streamed], labels[streamed]),
        (images[tested], labels[tested]),
    )


def tampered(images: Tensor, labels: Tensor) -> Tensor:
    """Return the images moved towards the next digit, as in disguise.py."""
    budget = Budget(EPSILON)
    means = torch.stack([images[labels == digit].mean(0) for digit in range(10)])
    way = means.roll(-1, dims=0) - means
    return budget.perturb(images, EPSILON * budget.direction(way[labels]))


def train(*, attacked: bool, defended: bool, epochs: int = 20) -> float:
    """Return the test accuracy of a model trained on clean or tampered images."""
    torch.manual_seed(0)
    (trusted, trusted_labels), (images, labels), (test_images, test_labels) = digits()
    if attacked:
        images = tampered(images, labels)
    loader = DataLoader(TensorDataset(images, labels), batch_size=100, shuffle=True)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 6 * 6, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    defender = Defender(model, trusted, trusted_labels, epsilon=EPSILON)
    for _ in range(epochs):
        for batch, batch_labels in loader:
            inputs = defender(batch, batch_labels) if defended else batch
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), batch_labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        return float((model(test_images).argmax(1) == test_labels).float().mean())


if __name__ == "__main__":
    print(f"clean     {train(attacked=False, defended=False):.3f}")
    print(f"attacked  {train(attacked=True, defended=False):.3f}")
    print(f"defended  {train(attacked=True, defended=True):.3f}")
