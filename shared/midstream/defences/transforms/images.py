"""The check that a batch holds images."""

from torch import Tensor


def check_images(name: str, inputs: Tensor) -> None:
    """Refuse inputs that are not images.

    Args:
        name: the defence's name.
        inputs: a batch.

    Raises:
        ValueError: they are not `(batch, channels, height, width)`.
    """
    if inputs.dim() != 4:
        shape = tuple(inputs.shape)
        raise ValueError(
            f"{name} takes images, (batch, channels, height, width), not inputs of shape {shape}"
        )
