"""A small classifier of sentences that arrive as embeddings."""

import torch
from torch import Tensor, nn

from midstream.networks.classifiers import Shape


class TextCnn(nn.Module):
    """Convolutions over neighbouring tokens, and the largest value of each over the sentence (Kim 2014).

    Args:
        dimensions: numbers of an embedding.
        outputs: number of classes or other outputs.
        channels: features of each width.
        widths: how many neighbouring tokens a feature sees.
    """

    def __init__(self, dimensions: int, outputs: int, *, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.ModuleList(nn.Conv1d(dimensions, channels, width) for width in widths)
        self.head = nn.Linear(channels * len(widths), outputs)

    def forward(self, embedded: Tensor) -> Tensor:
        """Return the outputs, `(batch, outputs)`, of sentences `(batch, tokens, dimensions)`."""
        columns = embedded.transpose(1, 2)
        found = [torch.relu(feature(columns)).amax(dim=2) for feature in self.features]
        outputs: Tensor = self.head(torch.cat(found, dim=1))
        return outputs


def text_cnn(input_shape: Shape, classes: int, *, channels: int = 32) -> nn.Module:
    """Return a convolutional network for sentences of embeddings, with features of two and three tokens.

    Args:
        input_shape: `(tokens, dimensions)`.
        classes: number of classes, or of another task's outputs.
        channels: features of each width.

    Raises:
        ValueError: the inputs are no sequences of three tokens or more, or a number is out of range.
    """
    if len(input_shape) != 2 or input_shape[0] < 3:
        raise ValueError(f"text-cnn takes sequences of embeddings, (tokens, dimensions), not {input_shape}")
    if channels < 1:
        raise ValueError(f"channels must be at least 1, not {channels}")
    return TextCnn(input_shape[1], classes, channels=channels, widths=(2, 3))
