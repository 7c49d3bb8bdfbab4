"""What the pixels of an image file are, however it stores them, and which files are refused by name."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from midstream.run.datasets import MissingDataError, Source, folder, load
from midstream.run.datasets.dataset_checks import DatasetError
from midstream.run.datasets.image_files import read_images

NOWHERE = Source()


def classes(where: Path, count: int = 6) -> Path:
    """Draw `count` images of two classes; return where the first is."""
    for i in range(count):
        path = where / ("cats" if i % 2 else "dogs") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 6), (i, 2 * i, 255)).save(path)
    return where / "dogs/0.png"


def one(path: Path, size: int | None = None) -> torch.Tensor:
    return read_images([path], size)[0]


def deep(path: Path, values: list[list[int]]) -> Path:
    Image.fromarray(np.array(values, dtype=np.uint16)).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_to_0_and_1(suffix: str, tmp_path: Path) -> None:
    path = deep(tmp_path / f"deep.{suffix}", [[0, 257, 32768], [65535, 1, 2]])
    pixels = one(path)
    assert pixels.dtype == torch.float32
    assert pixels.shape == (3, 2, 3)
    expected = torch.tensor([[0, 257, 32768], [65535, 1, 2]]) / 65535
    for channel in pixels:
        assert torch.allclose(channel, expected, rtol=0, atol=1e-7)


def test_16_bits_are_resized_without_leaving_0_and_1(tmp_path: Path) -> None:
    edge = [[0] * 8 + [65535] * 8] * 16
    pixels = one(deep(tmp_path / "edge.png", edge), size=5)
    assert pixels.shape == (3, 5, 5)
    assert pixels.min() == 0
    assert pixels.max() == 1
    assert ((pixels > 0.2) & (pixels < 0.8)).any()


def test_a_folder_with_one_image_of_16_bits_is_float_throughout(tmp_path: Path) -> None:
    first = classes(tmp_path, count=40)
    deep(first.with_name("deep.png"), [[65535] * 4] * 6)
    dataset = load(f"folder:{tmp_path}", NOWHERE)
    inputs = torch.cat([dataset.train.inputs, dataset.test.inputs])
    assert inputs.dtype == torch.float32
    expected = {round(i / 255, 6) for i in range(40)} | {1.0}
    assert {round(value, 6) for value in inputs[:, 0, 0, 0].tolist()} == expected


def png(path: Path, kind: int, depth: int, rows: list[bytes], width: int) -> Path:
    """Write a PNG that Pillow can read and not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        framed = name + content
        return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    image = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", image) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_colours_of_16_bits_have_their_upper_8(tmp_path: Path) -> None:
    path = png(tmp_path / "deep.png", 2, 16, [struct.pack(">6H", 0x80FF, 0, 0xFFFF, 1, 2, 0x0200)], 2)
    assert one(path).tolist() == [[[128, 0]], [[0, 0]], [[255, 2]]]


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    return image


def bits() -> Image.Image:
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    return image


def cmyk() -> Image.Image:
    return Image.new("CMYK", (2, 1), (0, 255, 0, 0))


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        (palette, "png", [[[10, 40]], [[20, 50]], [[30, 60]]]),
        (bits, "png", [[[0, 255]], [[0, 255]], [[0, 255]]]),
        (cmyk, "tif", [[[255, 255]], [[0, 0]], [[255, 255]]]),
    ],
)
def test_other_ways_to_store_colours(
    image: Callable[[], Image.Image], suffix: str, expected: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"image.{suffix}"
    image().save(path)
    assert one(path).tolist() == expected


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    image.putpixel((2, 0), (0, 0, 0, 128))
    image.save(path)
    assert one(path).tolist() == [[[255, 10, 127]], [[255, 20, 127]], [[255, 30, 127]]]
    keyed = tmp_path / "keyed.png"
    palette().save(keyed, transparency=0)
    assert one(keyed).tolist() == [[[255, 40]], [[255, 50]], [[255, 60]]]


def test_an_opaque_alpha_changes_no_pixel(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    plain = np.stack([values, values.T, 255 - values], axis=2)
    opaque = np.concatenate([plain, np.full((16, 16, 1), 255, np.uint8)], axis=2)
    Image.fromarray(plain).save(tmp_path / "plain.png")
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    assert torch.equal(one(tmp_path / "plain.png"), one(tmp_path / "opaque.png"))


def test_a_photo_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image = Image.new("RGB", (16, 8), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 8, 8))
    image.save(tmp_path / "lying.png", exif=exif)
    pixels = one(tmp_path / "lying.png")
    assert pixels.shape == (3, 16, 8)
    assert pixels[:, 0, 0].tolist() == [0, 0, 255]
    assert pixels[:, 15, 0].tolist() == [255, 0, 0]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:4000])


def no_image(path: Path) -> None:
    path.write_text("a list of owls")


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (4, 6), (i, 0, 0)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def unreadable_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20] + b"\xff" * 40)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (empty, r"cannot be read as an image \(it is empty\)"),
        (truncated, r"cannot be read as an image: .*truncated.*Replace it, or remove it"),
        (no_image, r"cannot be read as an image: cannot identify"),
        (unreadable_header, r"cannot be read as an image: "),
        (animated, r"holds 3 images, but an example is one"),
    ],
)
def test_a_file_that_is_no_picture_is_named(
    damage: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    path = classes(tmp_path)
    damage(path)
    with pytest.raises(DatasetError, match=sentence) as caught:
        folder(tmp_path, Source(image_size=8))
    assert str(caught.value).startswith(f"{path} ")


def floats(path: Path) -> None:
    Image.fromarray(np.full((6, 4), 3.0, np.float32)).save(path)


def integers(path: Path) -> None:
    Image.fromarray(np.full((6, 4), 70_000, np.int32)).save(path)


@pytest.mark.parametrize("draw", [floats, integers])
def test_pixels_without_a_largest_value_are_refused(draw: Callable[[Path], None], tmp_path: Path) -> None:
    path = classes(tmp_path).with_suffix(".tif")
    draw(path)
    with pytest.raises(DatasetError, match=r"has 32-bit pixels .* without a known maximum") as caught:
        folder(tmp_path, NOWHERE)
    assert str(path) in str(caught.value)


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    first = classes(tmp_path)
    before = load(f"folder:{tmp_path}", NOWHERE)
    first.with_name("._0.png").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "dogs/.thumbnails").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "dogs/.thumbnails/0.png")
    after = load(f"folder:{tmp_path}", NOWHERE)
    assert after.classes == ("cats", "dogs")
    assert after.sha256() == before.sha256()


def test_images_of_a_kind_that_is_not_read_are_not_left_out_in_silence(tmp_path: Path) -> None:
    path = classes(tmp_path).with_suffix(".gif")
    Image.new("L", (4, 6)).save(path)
    with pytest.raises(
        DatasetError, match=r"0.gif is not supported: images must end in .jpg, .jpeg, .png, .*Convert it"
    ):
        folder(tmp_path, NOWHERE)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    classes(tmp_path)
    (tmp_path / "owls").mkdir()
    with pytest.raises(MissingDataError, match="owls"):
        folder(tmp_path, NOWHERE)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    path.symlink_to(path)
    with pytest.raises(DatasetError, match=r"photos cannot be read: .*symbolic links"):
        folder(path, NOWHERE)


def test_a_folder_of_one_class_is_refused(tmp_path: Path) -> None:
    classes(tmp_path / "test")
    with pytest.raises(DatasetError, match=r"it names 1 class, \('test',\)"):
        load(f"folder:{tmp_path}", NOWHERE)


def test_train_and_test_have_one_size(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    odd = classes(tmp_path / "test")
    Image.new("RGB", (5, 7)).save(odd)
    with pytest.raises(DatasetError, match="is 5×7 pixels, but the first image is 4×6") as caught:
        folder(tmp_path, NOWHERE)
    assert str(odd) in str(caught.value)
