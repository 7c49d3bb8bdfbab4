"""The convolutional encoder and decoder of the paper's generative models (A.1.2), for images of any size."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LATENTS = 20
"""Number of latent variables in the paper."""

_SIDE = 8


def stride_of(size: Sequence[int]) -> int:
    """Return the stride of both convolutions: 2, or a larger one that reduces large images to about 8×8.

    >>> [stride_of((side, side)) for side in (8, 28, 32, 256)]
    [2, 2, 2, 6]
    """
    return max(2, math.ceil(math.sqrt(max(size) / _SIDE)))


def sizes(size: Sequence[int]) -> list[tuple[int, int]]:
    """Return the height and width of an image and of the feature maps after each of the two convolutions.

    >>> sizes((28, 27))
    [(28, 27), (14, 14), (7, 7)]
    """
    height, width = size
    strides = [stride_of(size) ** times for times in range(3)]
    return [(math.ceil(height / by), math.ceil(width / by)) for by in strides]


class Encoder(nn.Module):
    """Encodes images as vectors: convolutions with 16 and 32 channels, and a linear layer.

    Args:
        shape: shape of one image, `(channels, height, width)`.
        outputs: length of an image's vector.
        given: length of a second input per image, such as the one-hot vector of its label.

    >>> Encoder((3, 32, 32), 40, given=10)(torch.zeros(5, 3, 32, 32), torch.zeros(5, 10)).shape
    torch.Size([5, 40])
    """

    def __init__(self, shape: Sequence[int], outputs: int, *, given: int = 0) -> None:
        super().__init__()
        channels, *size = shape
        kernel, stride, padding = _kernel(size)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 16, kernel, stride, padding),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel, stride, padding),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.linear = nn.Linear(32 * math.prod(sizes(size)[2]) + given, outputs)

    def forward(self, images: Tensor, given: Tensor | None = None) -> Tensor:
        """Return `(batch, outputs)`."""
        return self.linear(_joined(self.convolutions(images), given))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Decodes vectors as images: a linear layer, and transposed convolutions from 32 and 16 channels.

    It mirrors `Encoder`.

    Args:
        shape: shape of one image, `(channels, height, width)`.
        latents: length of the vector of an image.
        given: length of a second input per image.

    >>> Decoder((1, 28, 27), 20)(torch.zeros(5, 20)).shape
    torch.Size([5, 1, 28, 27])
    """

    def __init__(self, shape: Sequence[int], latents: int, *, given: int = 0) -> None:
        super().__init__()
        channels, *size = shape
        kernel, stride, padding = _kernel(size)
        self.sizes = sizes(size)
        self.linear = nn.Linear(latents + given, 32 * math.prod(self.sizes[2]))
        self.first = nn.ConvTranspose2d(32, 16, kernel, stride, padding)
        self.second = nn.ConvTranspose2d(16, channels, kernel, stride, padding)

    def forward(self, latents: Tensor, given: Tensor | None = None) -> Tensor:
        """Return the logits of the pixels, `(batch, *shape)`; a sigmoid maps them to [0, 1]."""
        image, half, quarter = self.sizes
        features = self.linear(_joined(latents, given)).relu().unflatten(1, (32, *quarter))
        # State the size: a strided convolution maps inputs of several sizes to outputs of the same size.
        features = self.first(features, output_size=half).relu()
        return self.second(features, output_size=image)  # type: ignore[no-any-return]


def _kernel(size: Sequence[int]) -> tuple[int, int, int]:
    stride = stride_of(size)
    return 2 * stride - 1, stride, stride - 1


def _joined(features: Tensor, given: Tensor | None) -> Tensor:
    return features if given is None else torch.cat([features, given], dim=1)
