"""The defences that transform images, and CutMix: torchvision's, closed forms, and what they must do."""

import importlib
import sys
from functools import cache
from io import BytesIO
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import one_hot

from midstream import Batch, Budget, View, cross_entropy, plugins
from midstream.defences.transforms.clip import class_ranges
from midstream.defences.transforms.crop_ensemble import crop_and_rescale
from midstream.defences.transforms.cutmix import box_around, cut_mix
from midstream.defences.transforms.jpeg import jpeg
from midstream.defences.transforms.median import median_filter
from midstream.mathematics.budget import PixelRange, pixel_bounds
from midstream.networks.classifiers import digits_cnn
from midstream.players.referee import PlayerError, move
from midstream.plugins import PluginError
from midstream.run import datasets


@cache
def digits(count: int) -> tuple[Tensor, Tensor]:
    train = datasets.load("digits", datasets.Source()).train
    return train.inputs[:count].float(), train.labels[:count]


@cache
def model() -> nn.Module:
    return digits_cnn((1, 8, 8), 10)


@cache
def view(budget: Budget | None = None, *, seed: int = 0) -> View:
    z, t = (values[-200:] for values in digits(400))
    return View(
        model=model(),
        parameters_version=0,
        loss=cross_entropy,
        learning_rate=0.1,
        validation_inputs=z,
        validation_labels=t,
        budget=budget or Budget(1.5),
        seed=seed,
        role="defender",
        gradient_source=dict,
        classes=10,
    )


def mixed(text: str, seq: int, seed: int = 0) -> Batch:
    inputs, labels = digits(50)
    batch: Batch = plugins.make("defenders", text).augment(Batch(seq, inputs, labels), view(seed=seed))
    return batch


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
@pytest.mark.parametrize("seed", range(20))
def test_cutmix_is_torchvisions_for_the_same_draws(seed: int, size: tuple[int, int]) -> None:
    from torchvision.transforms.v2 import CutMix as TorchvisionCutMix

    height, width = size
    images, labels = torch.rand(6, 3, *size), torch.arange(6) % 4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs: tuple[Tensor, Tensor] = TorchvisionCutMix(num_classes=4)(images, labels)
        torch.manual_seed(seed)
        share = 1 - torch.distributions.Beta(torch.ones(1), torch.ones(1)).sample().item()
        column, row = int(torch.randint(width, (1,))), int(torch.randint(height, (1,)))
    ours = cut_mix(images, one_hot(labels, 4).float(), box_around((row, column), share, size))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("seq", range(10))
def test_cutmix_pastes_a_box_and_shares_the_label_by_its_area(seq: int) -> None:
    inputs, labels = digits(50)
    found = mixed("cutmix", seq)
    differs = (found.inputs != inputs).flatten(0, 1).any(dim=0)
    rows, columns = differs.any(dim=1).nonzero(), differs.any(dim=0).nonzero()
    if not len(rows):
        return
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    assert torch.equal(found.inputs[(..., *box)], inputs.roll(1, 0)[(..., *box)])
    kept = found.labels[torch.arange(50), labels][labels != labels.roll(1)]
    assert torch.allclose(kept, kept[0])
    # Digits have empty borders, so the box that can be seen may be smaller than the one pasted.
    assert 1 - kept[0] >= differs.any(dim=1).sum() * differs.any(dim=0).sum() / 64 - 1e-6
    assert torch.allclose(found.labels.sum(dim=1), torch.ones(50))


@pytest.mark.slow
def test_cutmix_draws_its_ratio_evenly_and_by_seed_and_batch() -> None:
    _, labels = digits(50)
    first = int((labels != labels.roll(1)).nonzero()[0])

    def kept(seq: int, seed: int = 0) -> float:
        return mixed("cutmix", seq, seed).labels[first, labels[first]].item()

    ratios = [kept(seq) for seq in range(200)]
    assert ratios == [kept(seq) for seq in range(200)]
    assert len({kept(3, seed) for seed in range(5)}) > 1
    # Beta(1, 1) is even, so half a side of k of 4 pixels comes with ((k + 1)² - k²) / 16, round any pixel.
    pasted = [sum(min(c + k, 8) - max(c - k, 0) for c in range(8)) / 8 for k in range(4)]
    expected = 1 - sum((2 * k + 1) / 16 * side**2 / 64 for k, side in enumerate(pasted))
    assert abs(sum(ratios) / 200 - expected) < 4 * 0.2 / 200**0.5


@pytest.mark.parametrize(("on", "changed"), [("training", (1, 0)), ("validation", (0, 1)), ("both", (1, 1))])
def test_cutmix_on_training_and_validation_data(on: str, changed: tuple[int, int]) -> None:
    player, (inputs, labels) = plugins.make("defenders", f"cutmix,on={on}"), digits(20)
    batch = Batch(0, inputs, labels)
    for hook, mixes in zip((player.augment, player.augment_rehearsal), changed, strict=True):
        assert (hook(batch, view()).labels.dim() == 2) == bool(mixes)
    assert not player.perturb(batch, view()).any()


def test_cutmix_mixes_what_is_mixed_already() -> None:
    inputs, labels = digits(20)
    once = plugins.make("defenders", "cutmix").augment(Batch(0, inputs, labels), view())
    twice = plugins.make("defenders", "cutmix").augment(once, view(seed=1))
    assert torch.allclose(twice.labels.sum(dim=1), torch.ones(20))
    assert not torch.equal(twice.labels, once.labels)


def test_a_median_filter_removes_salt_and_pepper() -> None:
    ramp = torch.linspace(0.2, 0.8, 16).expand(1, 2, 16, 16)
    noisy = ramp.clone()
    noisy[..., 3::5, 2::5], noisy[..., 5::5, 4::5] = 1.0, 0.0
    filtered = median_filter(noisy, 3)
    assert (filtered - ramp).abs().max() < 0.05 < (noisy - ramp).abs().max()
    assert torch.equal(median_filter(noisy, 1), noisy)


def test_a_median_is_that_of_each_square() -> None:
    images, size = torch.rand(2, 3, 6, 7), 5
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    squares = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    expected = np.median(squares.reshape(2, 3, 6, 7, -1), axis=-1)
    assert torch.equal(median_filter(images, size), torch.tensor(expected))


def test_jpeg_takes_noise_out_of_a_smooth_image() -> None:
    ramp = torch.linspace(0.1, 0.9, 32).expand(4, 3, 32, 32)
    noisy = (ramp + 0.05 * torch.randn(ramp.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for images, clean in ((noisy, ramp), (noisy[:, :2], ramp[:, :2])):
        assert (jpeg(images, 20) - clean).norm() < 0.7 * (images - clean).norm()


def test_jpeg_is_what_pillow_stores() -> None:
    images = torch.rand(3, 3, 16, 24)
    for image, found in zip(images, jpeg(images, 60), strict=True):
        file = BytesIO()
        page = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(page).save(file, "JPEG", quality=60)
        stored = (255 * found).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(stored, np.asarray(Image.open(file)))


def test_jpeg_of_another_pixel_range() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert torch.allclose(jpeg(3 * images - 1, 75, low=-1, high=2), 3 * jpeg(images, 75) - 1, atol=1e-5)


def test_jpeg_where_the_pixel_range_is_open() -> None:
    (inputs, labels), player = digits(5), plugins.make("defenders", "jpeg")
    unbounded, valid = (
        player.perturb(Batch(0, inputs, labels), view(Budget(1.0, "l2", *pixel_bounds(pixel_range))))
        for pixel_range in get_args(PixelRange)
    )
    assert torch.equal(unbounded, valid)


def test_jpeg_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(PluginError, match=r"'jpeg': it needs Pillow, of the extra midstream\[datasets\]"):
        plugins.make("defenders", "jpeg")


@pytest.mark.parametrize(
    "module",
    [
        *(f"transforms.{name}" for name in ("cutmix", "clip", "median", "jpeg", "crop_ensemble")),
        "train_on_validation",
    ],
)
def test_neither_pillow_nor_torchvision_is_needed_to_load_them(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module(f"midstream.defences.{module}")
    for absent in ("PIL", "torchvision"):
        monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.delitem(sys.modules, f"midstream.defences.{module}")
    assert importlib.import_module(f"midstream.defences.{module}")


@pytest.mark.parametrize("size", [(3, 3), (8, 5), (1, 1)])
def test_a_crop_is_torchvisions(size: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import resized_crop

    images = torch.rand(5, 2, 8, 9)
    tops = torch.tensor([0, 1, 2, 3, 8 - size[0]]).clamp(max=8 - size[0])
    lefts = torch.tensor([9 - size[1], 3, 2, 1, 0]).clamp(max=9 - size[1])
    found = crop_and_rescale(images, tops, lefts, size)
    for image, top, left, crop in zip(images, tops.tolist(), lefts.tolist(), found, strict=True):
        expected = resized_crop(image, top, left, *size, [8, 9], antialias=False)
        assert torch.allclose(crop, expected, atol=1e-6)


@pytest.mark.parametrize(("side", "crop"), [(8, 3), (28, 11), (32, 12), (64, 25), (224, 90), (1, 1)])
def test_a_crop_is_as_large_as_published(side: int, crop: int) -> None:
    ramp = torch.arange(float(side)).expand(2, 1, side, side)  # a crop of c columns runs over c - 1
    found = ramp + plugins.make("defenders", "crop-ensemble").perturb(
        Batch(0, ramp, torch.tensor([0, 1])), view()
    )
    runs = found.amax(dim=(1, 2, 3)) - found.amin(dim=(1, 2, 3))
    assert runs.round(decimals=3).tolist() == [crop - 1] * 2


def test_crop_ensemble_averages_crops_of_its_own_for_each_image_and_batch() -> None:
    inputs, labels = digits(1)
    same = Batch(0, inputs.expand(40, 1, 8, 8), labels.expand(40))
    wide = view(Budget(100.0))
    whole = move("whole", plugins.make("defenders", "crop-ensemble,side=1"), same, wide)
    assert torch.allclose(whole, same.inputs, atol=1e-6)
    one, many = (
        move("one", plugins.make("defenders", f"crop-ensemble,side=0.5,crops={crops}"), same, wide)
        for crops in (1, 50)
    )
    assert len({tuple(image.flatten().tolist()) for image in one}) > 10
    assert many.std(dim=0).mean() < one.std(dim=0).mean() / 4
    next_one = Batch(1, same.inputs, same.labels)
    other = move("one", plugins.make("defenders", "crop-ensemble,side=0.5"), next_one, wide)
    assert not torch.equal(one, other)


def test_clip_takes_each_pixel_to_the_nearest_of_its_class() -> None:
    (inputs, labels), seen = digits(30), view(Budget(100.0))
    found = move("clip", plugins.make("defenders", "clip,width=0.5"), Batch(0, inputs, labels), seen)
    for image, label, clipped in zip(inputs, labels, found, strict=True):
        of_class = seen.validation_inputs[seen.validation_labels == label].double()
        mean, deviation = of_class.mean(0), of_class.var(0, unbiased=False).sqrt()
        expected = torch.minimum(torch.maximum(image.double(), mean - deviation / 2), mean + deviation / 2)
        assert torch.allclose(clipped.double(), expected, atol=1e-6)
    within = move("clip", plugins.make("defenders", "clip,width=0.5"), Batch(1, found, labels), seen)
    assert torch.allclose(within, found, atol=1e-6)


def test_a_class_without_examples_bounds_nothing() -> None:
    low, high = class_ranges(torch.rand(4, 3), torch.tensor([0, 0, 2, 2]), 4, 1.0)
    assert low[[1, 3]].isneginf().all()
    assert high[[1, 3]].isposinf().all()
    batch = Batch(0, torch.rand(2, 1, 8, 8), torch.tensor([12, 12]))
    assert not plugins.make("defenders", "clip").perturb(batch, view()).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cutmix,on=test", "did you mean|Known: "),
        ("crop-ensemble,side=0", "side is a share of the image's, above 0 and at most 1, not 0.0"),
        ("crop-ensemble,crops=0", "crops must be at least 1, not 0"),
        ("median,size=4", "odd, not 4"),
        ("jpeg,quality=0", "quality is from 1 to 95, not 0"),
        ("clip,width=-1", "at least 0, not -1.0"),
        ("clip,width=nan", "'nan', which is not a number"),
    ],
)
def test_an_option_out_of_range(text: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        plugins.make("defenders", text)


@pytest.mark.parametrize("name", ["crop-ensemble", "median", "jpeg"])
def test_what_is_no_image_is_refused(name: str) -> None:
    batch = Batch(0, torch.rand(3, 64), torch.tensor([0, 1, 2]))
    with pytest.raises(PlayerError, match=rf"{name} takes images, .* not inputs of shape \(3, 64\)"):
        move(name, plugins.make("defenders", name), batch, view())
