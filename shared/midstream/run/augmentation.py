"""Random transforms of the images that a run trains on, before the defence, after it, or both."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch
from torch import Tensor

from midstream import plugins
from midstream.mathematics.seeds import seeded
from midstream.players.culprit import place as culprit
from midstream.players.interface import Batch
from midstream.plugins.naming import PluginError, unknown
from midstream.protocol.specification import Specification

Place = Literal["before", "after"]
Transform = Callable[[Tensor], Tensor]
_CPU = torch.device("cpu")


def crop(shape: Sequence[int], *, padding: int = 4) -> Transform:
    """Return a crop to the image's own size, out of the image with a black margin of `padding` pixels."""
    if not 0 <= padding <= min(shape[1:]):
        raise ValueError(f"padding must be from 0 to the image's {min(shape[1:])} pixels, not {padding}")
    return _v2().RandomCrop(list(shape[1:]), padding=padding)  # type: ignore[no-any-return]


def flip(shape: Sequence[int], *, share: float = 0.5) -> Transform:  # noqa: ARG001
    """Return a horizontal flip of a share of the images."""
    return _v2().RandomHorizontalFlip(share)  # type: ignore[no-any-return]


def cutout(shape: Sequence[int], *, size: int = 8, share: float = 1.0) -> Transform:
    """Return a black square of `size` pixels, somewhere inside a share of the images."""
    height, width = shape[1:]
    if not 0 < size < min(height, width):
        raise ValueError(
            f"size must be above 0 and below the image's {min(height, width)} pixels, not {size}"
        )
    area = size**2 / (height * width)
    return _v2().RandomErasing(share, (area, area), (1.0, 1.0))  # type: ignore[no-any-return]


def randaugment(shape: Sequence[int], *, operations: int = 2, magnitude: int = 9) -> Transform:
    """Return RandAugment (Cubuk et al., 2020): some operations of one magnitude, each drawn from fourteen."""
    if shape[0] not in (1, 3):
        raise ValueError(f"its operations on colours need 1 or 3 channels, not {shape[0]}")
    if operations < 1 or not 0 <= magnitude < 31:
        raise ValueError(
            f"operations must be at least 1 and magnitude from 0 to 30, not {operations} and {magnitude}"
        )
    return _v2().RandAugment(operations, magnitude)  # type: ignore[no-any-return]


TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "randaugment": randaugment,
}
"""The transforms by name, of `torchvision.transforms.v2`."""

_NEEDS_RANGE = "randaugment"  # its operations on colours take 1 for white


class Augmentation:
    """The transforms of one run, in the order written; each image gets draws of its own.

    The draws are seeded by (seed, seq, place) and made on the CPU, so they are the same after a resume, over
    either transport and on every device.

    Args:
        specification: transforms, places, pixel range and seed.
        input_shape: shape of one input.

    Raises:
        midstream.plugins.PluginError: there is no such transform, it cannot be made, or it does not work on
            such inputs.

    >>> specification = Specification.model_validate({"augment": "crop,padding=2+flip"})
    >>> images = Batch(3, torch.rand(5, 1, 8, 8), torch.zeros(5).long())
    >>> augmented = Augmentation(specification, (1, 8, 8))
    >>> augmented(images, "before").inputs.shape, augmented(images, "after") is images
    (torch.Size([5, 1, 8, 8]), True)
    """

    def __init__(self, specification: Specification, input_shape: Sequence[int]) -> None:
        at = specification.augment_at or "before"
        self._places = ("before", "after") if at == "both" else (at,)
        self._seed = specification.seed
        text = specification.augment
        self._transforms = [] if text is None else _made(text, input_shape, specification.pixel_range)

    def __call__(self, batch: Batch, place: Place) -> Batch:
        """Return a batch as it is after the transforms of one place: `before` the defence or `after` it."""
        if not self._transforms or place not in self._places:
            return batch
        with torch.no_grad(), seeded(_CPU, self._seed, batch.seq, "augmentation", place):
            images = torch.stack([self._transformed(image) for image in batch.inputs])
        return replace(batch, inputs=images)

    def _transformed(self, image: Tensor) -> Tensor:
        for transform in self._transforms:
            image = transform(image)
        return image


def check_augmentation(specification: Specification) -> None:
    """Refuse transforms that do not exist, before a game starts; the data's shape is not known yet.

    Raises:
        midstream.plugins.PluginError: there is no such transform, or an option is unknown or wrong.
    """
    if specification.augment is not None:
        for name, options in _parsed(specification.augment):
            plugins.bound(TRANSFORMS[name], name, options, "augmentation", given=1)


def torchvision_version() -> str | None:
    """Return the version of torchvision, which the bits of an augmented run depend on."""
    try:
        return version("torchvision")
    except PackageNotFoundError:
        return None


def _parsed(text: str) -> list[tuple[str, dict[str, str]]]:
    if joined := [piece for piece in text.split(",")[1:] if piece.strip() in TRANSFORMS]:
        raise PluginError(
            f"{text!r} names {joined[0].strip()!r} after a comma, which is for options; combine them by "
            f"a plus sign: crop+flip"
        )
    parsed = [plugins.parse(member) for member in plugins.members(text)]
    for name, _ in parsed:
        if name not in TRANSFORMS:
            raise PluginError(unknown("augmentation", name, TRANSFORMS))
    return parsed


def _made(text: str, shape: Sequence[int], pixel_range: str) -> list[Transform]:
    parsed = _parsed(text)
    if len(shape) != 3:
        raise PluginError(
            f"augmentation {text!r} needs images of channels, height and width; the inputs have shape "
            f"{tuple(shape)}"
        )
    if pixel_range != "valid" and _NEEDS_RANGE in dict(parsed):
        raise PluginError(f"augmentation {_NEEDS_RANGE!r} needs pixels in [0, 1]; set pixel_range to valid")
    transforms = []
    for name, options in parsed:
        make = plugins.bound(TRANSFORMS[name], name, options, "augmentation", given=1)
        try:
            transform = make(shape)
            with seeded(_CPU, 0, "augmentation"):
                found = transform(torch.zeros(*shape)).shape
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(
                f"augmentation {name!r} on images of shape {tuple(shape)}: {error}{culprit(error)}"
            ) from error
        assert found == tuple(shape)
        transforms.append(transform)
    return transforms


def _v2() -> Any:
    try:
        from torchvision.transforms import v2
    except ImportError as error:
        raise PluginError(
            f"augmentation needs torchvision, which cannot be imported here: {error}; install "
            f"midstream[datasets]"
        ) from error
    return v2
