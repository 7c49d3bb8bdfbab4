"""Converts between a training loop's inputs, normalised or not, and the pixels that a budget refers to."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Normalization = tuple[float | Sequence[float], float | Sequence[float]]
"""Mean and standard deviation, for all channels or per channel, as in `torchvision.transforms.Normalize`."""


class PixelSpace:
    """Converts inputs to pixels and back: `pixel = input · std + mean`, per channel.

    A budget's radius, ball and clamp refer to pixels. A model of normalised inputs is also a function of
    pixels; its derivative with respect to a pixel is the one with respect to the input, divided by std.

    Args:
        normalization: mean and standard deviation; None if the inputs are pixels.

    Raises:
        ValueError: the statistics are not finite numbers, a deviation is not above 0, or the numbers of means
            and deviations differ.

    >>> space = PixelSpace(((0.5, 0.4), (0.25, 0.2)))
    >>> x = torch.full((1, 2, 1, 1), 2.0)
    >>> space.pixels(x).flatten().tolist()
    [1.0, 0.800000011920929]
    >>> space.inputs(space.pixels(x)).flatten().tolist()
    [2.0, 2.0]
    """

    def __init__(self, normalization: Normalization | None) -> None:
        self.normalization = normalization
        if normalization is not None:
            self._mean, self._std = _statistics(normalization)

    def pixels(self, inputs: Tensor) -> Tensor:
        """Return the pixels of inputs, `(batch, channels, ...)`; the inputs themselves if not normalised."""
        if self.normalization is None:
            return inputs
        mean, std = self._like(inputs)
        return inputs * std + mean

    def inputs(self, pixels: Tensor) -> Tensor:
        """Return the inputs of pixels; the inverse of `pixels`."""
        if self.normalization is None:
            return pixels
        mean, std = self._like(pixels)
        return (pixels - mean) / std

    def of_pixels(self, model: nn.Module) -> nn.Module:
        """Return a model that takes pixels and shares the parameters of a model that takes inputs."""
        return model if self.normalization is None else _OfPixels(model, self)

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        channels = len(self._mean)
        if channels > 1 and (x.dim() < 2 or x.shape[1] != channels):
            raise ValueError(
                f"normalization has {channels} channels, inputs of shape {tuple(x.shape)} do not: dimension "
                f"1 must be the channels. Give as many means and deviations as there are, or one of each"
            )
        shape = (1, channels, *[1] * (x.dim() - 2))
        return (torch.tensor(self._mean).to(x).reshape(shape), torch.tensor(self._std).to(x).reshape(shape))


class _OfPixels(nn.Module):
    def __init__(self, model: nn.Module, space: PixelSpace) -> None:
        super().__init__()
        self.model = model
        self._space = space

    def forward(self, pixels: Tensor) -> Tensor:
        outputs: Tensor = self.model(self._space.inputs(pixels))
        return outputs


def _statistics(normalization: Normalization) -> tuple[list[float], list[float]]:
    try:
        mean, std = normalization
        means, deviations = _numbers(mean), _numbers(std)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"normalization is {normalization!r}; it must be (mean, std), two numbers or two sequences of "
            f"one number a channel"
        ) from error
    if len(means) != len(deviations) or not means:
        raise ValueError(
            f"normalization has {len(means)} means and {len(deviations)} standard deviations; give the same "
            f"number of each"
        )
    if not all(math.isfinite(value) for value in means + deviations) or min(deviations) <= 0:
        raise ValueError(
            f"normalization has means {means} and standard deviations {deviations}; all must be finite, and "
            f"the deviations above 0"
        )
    return means, deviations


def _numbers(values: float | Sequence[float] | Tensor) -> list[float]:
    if isinstance(values, (int, float)):
        return [float(values)]
    return [float(value) for value in values]
