"""A model in one file: any function (input_shape, classes) that returns a torch.nn.Module.

midstream play --dataset digits --model examples/residual.py:residual,width=8 --attacker level-1
"""

from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.inner(images)
        return nn.functional.relu(images + output)


def residual(input_shape: tuple[int, ...], classes: int, *, width: int = 16, blocks: int = 2) -> nn.Module:
    """Return a small residual network without batch norm, which would couple the images of a batch."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], width, 3, padding=1),
        nn.ReLU(),
        *(Block(width) for _ in range(blocks)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(width * (input_shape[1] // 2) * (input_shape[2] // 2), classes),
    )
