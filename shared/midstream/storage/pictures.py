"""Pictures for the semantic checker: a few inputs as they arrived, the correction, and their sum."""

import io

import torch
import torch.nn.functional as F
from torch import Tensor

PICTURED = 8
"""Number of examples of a pictured batch that are shown."""

_HEIGHT = 64  # small images are enlarged to about this


def sample_sheet(received: Tensor, defended: Tensor) -> bytes:
    """Return a PNG with one row per example: `x'`, `σ` and `x''`.

    `σ = x'' - x'` is scaled so that its smallest value is black and its largest value white (paper A.2.2). A
    constant σ is mid-grey.

    Args:
        received: `x'`, `(examples, channels, height, width)`, one or three channels; in a run without a pixel
            range, values outside [0, 1] are clipped to black or white.
        defended: `x''`, the same shape.
    """
    return _sheet(received, _scaled(defended - received), defended)


def clean_sheet(clean: Tensor, attacked: Tensor) -> bytes:
    """Return a PNG with one row per example: `x` and `δ = x' - x`, drawn as in `sample_sheet`.

    Args:
        clean: `x`, `(examples, channels, height, width)`, one or three channels.
        attacked: `x'`, the same shape.
    """
    return _sheet(clean, _scaled(attacked - clean))


def _scaled(moved: Tensor) -> Tensor:
    """Return a perturbation from its smallest value (black) to its largest one (white)."""
    lowest = moved.flatten(1).amin(1).view(-1, 1, 1, 1)
    spread = moved.flatten(1).amax(1).view(-1, 1, 1, 1) - lowest
    return torch.where(spread > 0, (moved - lowest) / spread, torch.tensor(0.5))


def _sheet(*columns: Tensor) -> bytes:
    margin = max(1, columns[0].shape[2] // 16)
    tiles = [F.pad(tile.clamp(0, 1), [margin] * 4, value=0.5) for tile in columns]
    sheet = torch.cat(list(torch.cat(tiles, dim=3)), dim=1).mul(255).round().to(torch.uint8)
    return _png(sheet, max(1, _HEIGHT // columns[0].shape[2]))


def strip(images: Tensor) -> bytes:
    """Return a PNG of images side by side.

    Args:
        images: `(number, channels, height, width)`, one or three channels; values outside [0, 1] are clipped.
    """
    return _png(torch.cat(list(images.clamp(0, 1)), dim=2).mul(255).round().to(torch.uint8), 1)


def _png(picture: Tensor, factor: int) -> bytes:
    from PIL import Image  # few processes draw, and this takes a while

    array = picture.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3])
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=1)  # two to four times as fast as the default
    return buffer.getvalue()
