"""Images of one's own, one folder a class."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from midstream.plugins import PluginError
from midstream.run.datasets import MissingDataError, Source, folder, load

NOWHERE = Source()
Colour = tuple[int, int, int]


def draw(path: Path, colour: Colour, size: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def draw_flat(where: Path, *, count: int = 10) -> None:
    for i in range(count):
        draw(where / ("cats" if i % 2 else "dogs") / f"{i}.png", (i, 2 * i, 255))


def test_train_and_test_folders(tmp_path: Path) -> None:
    draw(tmp_path / "train/dogs/a.png", (10, 20, 30))
    draw(tmp_path / "train/cats/b.png", (1, 2, 3))
    draw(tmp_path / "train/cats/c.png", (4, 5, 6))
    draw(tmp_path / "test/cats/d.png", (7, 8, 9))
    draw(tmp_path / "test/dogs/e.png", (0, 0, 0))
    dataset = load(f"folder:{tmp_path}", NOWHERE)
    assert dataset.classes == ("cats", "dogs")
    assert dataset.train.inputs.shape == (3, 3, 6, 4)  # 4 wide, 6 high
    assert dataset.train.inputs.dtype == torch.uint8
    assert dataset.train.inputs[:, :, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [10, 20, 30]]
    assert dataset.train.labels.tolist() == [0, 0, 1]
    assert dataset.test.inputs[:, :, 5, 3].tolist() == [[7, 8, 9], [0, 0, 0]]
    assert dataset.test.labels.tolist() == [0, 1]


def test_without_them_a_fifth_is_held_back_the_same_each_time(tmp_path: Path) -> None:
    draw_flat(tmp_path)
    first, again = (folder(tmp_path, NOWHERE) for _ in range(2))
    assert (len(first.train), len(first.test)) == (8, 2)
    held_back, trained = (part.inputs[:, 0, 0, 0].tolist() for part in (first.test, first.train))
    assert sorted(held_back + trained) == list(range(10))
    assert first.test.labels.tolist() == [0 if i % 2 else 1 for i in held_back]
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.test.inputs, again.test.inputs)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    draw_flat(tmp_path, count=4)
    Image.new("L", (4, 6), 77).save(tmp_path / "cats/grey.png")
    Image.new("RGBA", (4, 6), (1, 2, 3, 128)).save(tmp_path / "cats/transparent.png")
    assert folder(tmp_path, NOWHERE).train.inputs.shape == (5, 3, 6, 4)


def test_different_sizes_need_one_named(tmp_path: Path) -> None:
    draw_flat(tmp_path, count=4)
    odd = tmp_path / "cats/zzz.png"
    draw(odd, (9, 9, 9), size=(5, 7))
    with pytest.raises(ValueError, match=r"is 5×7 pixels, .* first image is 4×6; .* --image-size") as caught:
        folder(tmp_path, NOWHERE)
    assert str(odd) in str(caught.value)
    assert folder(tmp_path, Source(image_size=3)).train.inputs.shape == (4, 3, 3, 3)


def test_scaling_keeps_the_proportions_and_the_middle(tmp_path: Path) -> None:
    draw_flat(tmp_path, count=2)
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (10, 0, 20, 10))
    wide.save(tmp_path / "dogs/0.png")
    wide.save(tmp_path / "cats/1.png")
    image = folder(tmp_path, Source(image_size=10)).train.inputs[0]
    green = torch.tensor([0, 255, 0], dtype=torch.uint8).reshape(3, 1, 1)
    assert (image[:, :, 1:-1] == green).all()


def missing(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.mkdir()


def without_classes(path: Path) -> None:
    draw(path / "a.png", (0, 0, 0))


def without_images(path: Path) -> None:
    (path / "cats").mkdir(parents=True)


def without_test(path: Path) -> None:
    draw(path / "train/cats/a.png", (0, 0, 0))


@pytest.mark.parametrize("prepare", [missing, empty, without_classes, without_images, without_test])
def test_a_folder_without_images_by_class(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    path = tmp_path / "photos"
    prepare(path)
    with pytest.raises(MissingDataError) as caught:
        folder(path, NOWHERE)
    assert f"no images by class in {path}: expected {path}/CLASS/IMAGE.png" in str(caught.value)


def test_other_classes_in_the_test(tmp_path: Path) -> None:
    draw(tmp_path / "train/cats/a.png", (0, 0, 0))
    draw(tmp_path / "test/dogs/a.png", (0, 0, 0))
    with pytest.raises(ValueError, match="hold different classes"):
        folder(tmp_path, NOWHERE)


def test_a_folder_is_read_only_where_it_is_allowed(tmp_path: Path) -> None:
    draw_flat(tmp_path)
    name = f"folder:{tmp_path}"
    with pytest.raises(PluginError, match="was not told to read; start it with --allow folder:"):
        load(name, NOWHERE, allowed=[])
    assert len(load(name, NOWHERE, allowed=[name]).train) == 8
