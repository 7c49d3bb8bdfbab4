"""A small vision transformer (Dosovitskiy et al. 2021; the size of DeiT-Ti, Touvron et al. 2021)."""

import torch
from torch import Tensor, nn

from midstream.networks.classifiers import Shape


def vit_tiny(
    input_shape: Shape,
    classes: int,
    *,
    patch: int = 0,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    dropout: float = 0.0,
) -> nn.Module:
    """Return a vision transformer with layer norm first: 5.4 million parameters for images of 32×32 pixels.

    Args:
        input_shape: `(channels, height, width)`.
        classes: number of classes.
        patch: side of a patch, in pixels; 0 takes an eighth of the image's side.
        width: values of a token.
        depth: number of layers.
        heads: heads of each attention; they divide the width.
        dropout: share of values that a training step drops.

    Raises:
        ValueError: the patches do not tile the image, or the heads do not divide the width.
    """
    channels, height, across = input_shape
    side = patch or max(min(height, across) // 8, 1)
    if height % side or across % side:
        raise ValueError(f"patches of {side}×{side} pixels do not tile images of {height}×{across}")
    if heads < 1 or width % heads:
        raise ValueError(f"width must be a multiple of heads, not {width} with {heads} heads")
    tokens = (height // side) * (across // side)
    return VisionTransformer(
        channels, tokens, classes, patch=side, width=width, depth=depth, heads=heads, dropout=dropout
    )


class VisionTransformer(nn.Module):
    """Patches as tokens, a class token, transformer layers, and a linear layer on the class token.

    Args:
        channels: of an image.
        tokens: number of patches.
        classes: number of classes.
        patch: side of a patch.
        width: values of a token.
        depth: number of layers.
        heads: heads of each attention.
        dropout: share of values that a training step drops.
    """

    def __init__(
        self,
        channels: int,
        tokens: int,
        classes: int,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, width) * 0.02)
        layers = [
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `(batch, classes)`."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(tokens), -1, -1)
        x = self.layers(torch.cat([first, tokens], dim=1) + self.positions)
        logits: Tensor = self.head(self.norm(x[:, 0]))
        return logits
