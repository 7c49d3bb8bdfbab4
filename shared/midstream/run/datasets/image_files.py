"""Read an image folder: find the files by class and decode their pixels."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from midstream.run.datasets.dataset_checks import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8] | NDArray[np.float32]

_UNREAD = {".apng", ".avif", ".dcm", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".npy", ".npz", ".svg"}
_PORTABLE = ("PNG", "PPM")  # formats whose 16-bit pixels Pillow holds in its 32-bit mode


def class_names(where: Path) -> tuple[str, ...]:
    """Return the sorted names of the class folders. Hidden folders are ignored.

    Raises:
        FileNotFoundError: there is no class folder.
    """
    names = sorted(entry.name for entry in where.iterdir() if entry.is_dir() and not _hidden(entry))
    if not names:
        raise FileNotFoundError(f"there is no class folder in {where}")
    return tuple(names)


def files_by_class(where: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return each image below the class folders with its class, in torchvision's order.

    Hidden files, such as macOS creates, and files that are not images are skipped.

    Raises:
        FileNotFoundError: a class has no image.
        DatasetError: a file is an image in an unsupported format.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    def is_read(name: str) -> bool:
        path = Path(name)
        if any(part.startswith(".") for part in path.relative_to(where).parts):
            return False
        if path.suffix.lower() in _UNREAD:
            raise DatasetError(
                f"{path} is not supported: images must end in {', '.join(IMG_EXTENSIONS)}. Convert it to "
                f"PNG, or remove it from the folder"
            )
        return path.suffix.lower() in IMG_EXTENSIONS

    numbers = {name: number for number, name in enumerate(classes)}
    return [(Path(name), label) for name, label in make_dataset(str(where), numbers, is_valid_file=is_read)]


def read_images(paths: list[Path], size: int | None) -> Tensor:
    """Return images as `(images, 3, height, width)`: uint8, or float32 in [0, 1] if one has 16-bit pixels.

    Args:
        paths: the files.
        size: side length to scale and crop to; None keeps the original size.

    Raises:
        DatasetError: a file cannot be read as an image, or its size differs from the first image's.
    """
    arrays = [_read(path, size) for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape:
            (height, width, _), first = array.shape, arrays[0].shape
            raise DatasetError(
                f"{path} is {width}×{height} pixels, but the first image is {first[1]}×{first[0]}; "
                f"scale all images to one size with --image-size"
            )
    if any(array.dtype == np.float32 for array in arrays):
        arrays = [
            array if array.dtype == np.float32 else array.astype(np.float32) / np.float32(255)
            for array in arrays
        ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _read(path: Path, size: int | None) -> Pixels:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if (
                getattr(image, "is_animated", False) and image.format != "MPO"
            ):  # MPO: a photo and its preview, as phones save them
                frames = getattr(image, "n_frames", 2)
                raise DatasetError(
                    f"{path} holds {frames} images, but an example is one image. Save each to its own file"
                )
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I") or image.mode == "F":
                return _deep(path, image, size)
            rgb = _rgb(image)
            return np.asarray(_fitted(rgb, size))
    except DatasetError:
        raise
    except Exception as error:  # decoders raise many types of errors on damaged files
        empty = " (it is empty)" if path.is_file() and path.stat().st_size == 0 else ""
        raise DatasetError(
            f"{path} cannot be read as an image{empty}: {str(error) or repr(error)}. Replace it, or "
            f"remove it from the folder"
        ) from error


def _rgb(image: "Image") -> "Image":
    """Return 8-bit colours. Transparent pixels are composited on white, as most programs show them."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _deep(path: Path, image: "Image", size: int | None) -> NDArray[np.float32]:
    """Return 16-bit grey pixels as float32 in [0, 1], repeated to three channels."""
    from PIL import Image

    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format in _PORTABLE)):
        raise DatasetError(
            f"{path} has 32-bit pixels (mode {image.mode}) without a known maximum; save it with 8 or 16 bits"
        )
    if "transparency" in image.info:
        raise DatasetError(f"{path} has 16-bit pixels and a transparent colour; save it without transparency")
    grey = np.asarray(image).astype(np.float32) / np.float32(65535)
    fitted = np.asarray(_fitted(Image.fromarray(grey), size), dtype=np.float32).clip(0, 1)
    return np.repeat(fitted[:, :, None], 3, axis=2)


def _fitted(image: "Image", size: int | None) -> "Image":
    from PIL import Image, ImageOps

    return image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
