"""Augmented batches: which transforms, where, by which draws, and what is refused."""

from typing import Any

import pytest
import torch
from tiny_training import batch, equal, run, state
from torch import Tensor

from midstream.players.interface import Batch, View
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.run.augmentation import Augmentation, check_augmentation

FEW: dict[str, Any] = {"model": "logistic", "learning_rate": 0.01}
GRADIENT = torch.arange(1.0, 1 + 3 * 8 * 10).reshape(3, 8, 10) / 240


def augmented(text: str, seq: int = 4, place: Any = "before", **settings: Any) -> Tensor:
    specification = Specification.model_validate({"augment": text, "augment_at": "both"} | settings)
    images = Batch(seq, GRADIENT.expand(40, 3, 8, 10).clone(), torch.zeros(40).long())
    return Augmentation(specification, (3, 8, 10))(images, place).inputs


def test_a_crop_is_a_window_of_the_image_with_a_black_margin() -> None:
    padded = torch.nn.functional.pad(GRADIENT, (2, 2, 2, 2))
    windows = [padded[:, top : top + 8, left : left + 10] for top in range(5) for left in range(5)]
    found = [
        next(n for n, window in enumerate(windows) if torch.equal(window, image))
        for image in augmented("crop,padding=2")
    ]
    assert len(set(found)) > 10


def test_a_flip_mirrors_a_share_of_the_images() -> None:
    mirrored = [torch.equal(image, GRADIENT.flip(2)) for image in augmented("flip,share=0.7")]
    unchanged = [torch.equal(image, GRADIENT) for image in augmented("flip,share=0.7")]
    assert all(one != other for one, other in zip(mirrored, unchanged, strict=True))
    assert 20 <= sum(mirrored) <= 36
    assert torch.equal(augmented("flip,share=1"), GRADIENT.flip(2).expand(40, 3, 8, 10))


def test_a_cutout_is_a_black_square() -> None:
    places = set()
    for image in augmented("cutout,size=3"):
        black = (image == 0).all(0)
        rows, columns = black.any(1).nonzero().flatten(), black.any(0).nonzero().flatten()
        assert (int(black.sum()), len(rows), len(columns)) == (9, 3, 3)
        assert torch.equal(image[:, ~black], GRADIENT[:, ~black])
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 10


def test_randaugment_changes_images_within_the_pixel_range() -> None:
    images = augmented("randaugment,magnitude=15")
    assert images.shape == (40, 3, 8, 10)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert len({image.numpy().tobytes() for image in images}) > 10


def test_transforms_act_in_the_order_written() -> None:
    dark = augmented("cutout,size=3")
    assert torch.equal(augmented("cutout,size=3+flip,share=1")[0], dark[0].flip(2))
    assert not torch.equal(augmented("flip,share=1+cutout,size=3")[0], dark[0].flip(2))


def test_draws_depend_on_seed_batch_and_place_alone() -> None:
    first = augmented("crop+flip")
    torch.rand(7)  # no other draw has a part in it
    assert torch.equal(augmented("crop+flip"), first)
    assert not torch.equal(augmented("crop+flip", seq=5), first)
    assert not torch.equal(augmented("crop+flip", seed=1), first)
    assert not torch.equal(augmented("crop+flip", place="after"), first)


class Watching:
    """A defender that remembers what it saw and moves nothing."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        self.seen.append(batch.inputs)
        return torch.zeros_like(batch.inputs)


@pytest.mark.parametrize("at", ["before", "after", "both"])
def test_the_defender_sees_what_the_place_says_and_the_model_trains_on_the_rest(at: str) -> None:
    settings = {"augment": "crop,padding=2+flip", "augment_at": at}
    defender = Watching()
    made = run(defender, **FEW, **settings)
    augmentation = Augmentation(made.specification, (1, 8, 8))
    arrived = batch(0)
    seen = augmentation(arrived, "before")
    trained_on = augmentation(seen, "after")
    assert (seen is arrived) == (at == "after")
    assert (trained_on is seen) == (at == "before")
    step = made.train(arrived)
    assert torch.equal(defender.seen[0], seen.inputs)
    assert torch.equal(step.received, arrived.inputs)
    assert torch.equal(step.defended, seen.inputs)
    plain = run("none", **FEW)
    assert plain.train(trained_on).loss == step.loss
    assert equal(plain.parameters(), made.parameters())


def test_the_correction_is_that_of_the_defender_alone() -> None:
    made = run("level-1", **FEW, epsilon=0.5, augment="crop,padding=2+flip", augment_at="both")
    assert made.train(batch(0)).correction == pytest.approx(0.5, abs=0.1)


def test_a_resume_draws_the_same_transforms() -> None:
    settings = {"augment": "crop+flip+cutout,size=2+randaugment", "augment_at": "both"}
    whole = run("level-1", **FEW, **settings)
    for seq in range(3):
        whole.train(batch(seq))
    saved = state(whole)
    resumed = run("level-1", **FEW, **settings)
    resumed.load_state_dict(saved, step=3)
    for made in (whole, resumed):
        for seq in range(3, 6):
            made.train(batch(seq))
    assert equal(state(whole), state(resumed))


def test_before_is_what_nothing_said_means() -> None:
    said = Specification.model_validate({"augment": "flip", "augment_at": "before"})
    assert said == Specification.model_validate({"augment": "flip"})
    with pytest.raises(ValueError, match="augment_at is after, but nothing is augmented"):
        Specification.model_validate({"augment_at": "after"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flop", "there is no augmentation called 'flop'; did you mean 'flip'"),
        ("crop,flip", "'crop,flip' names 'flip' after a comma, which is for options; combine them by a plus"),
        ("crop,pading=3", "no option of augmentation 'crop' called 'pading'; did you mean 'padding'"),
        ("cutout,size=x", "option 'size' of 'cutout' is 'x', not a whole number"),
    ],
)
def test_a_name_or_an_option_that_does_not_exist_is_refused_before_the_game(text: str, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        check_augmentation(Specification.model_validate({"augment": text}))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "shape", "words"),
    [
        (
            {"augment": "cutout,size=8"},
            (1, 8, 8),
            "'cutout' on images of shape (1, 8, 8): size must be",
        ),
        (
            {"augment": "flip"},
            (64,),
            "needs images of channels, height and width; the inputs have",
        ),
        ({"augment": "randaugment"}, (4, 8, 8), "its operations on colours need 1 or 3 channels, not 4"),
        (
            {"augment": "flip+randaugment", "pixel_range": "unbounded"},
            (3, 8, 8),
            "'randaugment' needs pixels in [0, 1]; set pixel_range to valid",
        ),
    ],
)
def test_data_that_cannot_be_augmented_are_refused_in_words(
    settings: dict[str, Any], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(PluginError) as caught:
        Augmentation(Specification.model_validate(settings), shape)
    assert words in str(caught.value)
