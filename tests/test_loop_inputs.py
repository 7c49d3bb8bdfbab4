"""What the defender of a training loop does with inputs and labels that are not what its budget assumes."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from midstream import Budget, Defender, level_1_attack, validation_gradient
from midstream.mathematics.inputs.pixel_space import Normalization, PixelSpace

MEAN, STD = (0.49, 0.45, 0.41), (0.25, 0.2, 0.3)
NORMALIZATION: Normalization = (MEAN, STD)


class Photos:
    """A model of normalised colour images, the images as pixels, and the same normalised."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        random = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5)).to(
                dtype
            )
        self.pixels = torch.rand(12, 3, 6, 6, generator=random, dtype=dtype)
        self.validation = torch.rand(20, 3, 6, 6, generator=random, dtype=dtype)
        self.labels = torch.arange(12) % 5
        self.validation_labels = torch.arange(20) % 5

    def defender(self, validation: Tensor, **options: Any) -> Defender:
        model = options.pop("model", self.model)
        return Defender(model, validation, self.validation_labels, **({"epsilon": 0.7} | options))


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).to(x).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


def size(x: Tensor, norm: str) -> Tensor:
    return x.flatten(1).norm(dim=1) if norm == "l2" else x.flatten(1).abs().amax(dim=1)


class Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return normalised(x)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_normalised_inputs_are_corrected_as_their_pixels_are(norm: Any) -> None:
    photos = Photos(torch.float64)
    # The same model as a function of pixels, its first layer the normalisation.
    whole = nn.Sequential(Normalise(), *photos.model)
    expected = photos.defender(photos.validation, model=whole, norm=norm)(photos.pixels, photos.labels)
    defender = photos.defender(normalised(photos.validation), norm=norm, normalization=NORMALIZATION)
    corrected = defender(normalised(photos.pixels), photos.labels)
    assert torch.allclose(corrected, normalised(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_budget_holds_in_pixels_and_is_used(norm: Any) -> None:
    photos = Photos()
    defender = photos.defender(normalised(photos.validation), norm=norm, normalization=NORMALIZATION)
    space = PixelSpace(NORMALIZATION)
    after = space.pixels(defender(normalised(photos.pixels), photos.labels))
    moved = size(after - photos.pixels, norm)
    assert (moved <= 0.7 + 1e-5).all()
    assert (moved > 0.3).all()  # the clamp takes some of it
    assert after.min() >= -1e-5
    assert after.max() <= 1 + 1e-5


def test_one_mean_and_deviation_may_stand_for_all_channels() -> None:
    photos = Photos()
    defenders = [
        photos.defender((photos.validation - 0.5) / 0.25, normalization=given)
        for given in ((0.5, 0.25), ([0.5] * 3, torch.full((3,), 0.25)))
    ]
    x = (photos.pixels - 0.5) / 0.25
    assert torch.equal(*(defender(x, photos.labels) for defender in defenders))


def test_the_direction_of_normalised_inputs_is_that_of_the_level_1_attack_on_pixels() -> None:
    photos = Photos(torch.float64)
    whole = nn.Sequential(Normalise(), *photos.model)
    v = validation_gradient(whole, photos.validation, photos.validation_labels)
    budget = Budget(0.2)
    attack = level_1_attack(whole, photos.pixels, photos.labels, validation_gradient=v, budget=budget)
    middle = 0.5 + 0.1 * (photos.pixels - 0.5)  # no clamp
    attack = level_1_attack(whole, middle, photos.labels, validation_gradient=v, budget=budget)
    defender = photos.defender(normalised(photos.validation), epsilon=0.2, normalization=NORMALIZATION)
    moved = PixelSpace(NORMALIZATION).pixels(defender(normalised(middle), photos.labels)) - middle
    assert torch.allclose(moved, -attack, rtol=0, atol=1e-12)


def refused(pattern: str, call: Any) -> None:
    with pytest.raises(ValueError, match=pattern) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_normalised_inputs_without_normalization_are_refused() -> None:
    photos = Photos()
    sentence = (
        r"validation inputs range from -2.\d+ to 2.\d+, outside of the pixel range \[0, 1\]: they look "
    )
    sentence += r"normalised. Give normalization=\(mean, std\)"
    refused(sentence, lambda: photos.defender(normalised(photos.validation)))
    defender = photos.defender(photos.validation)
    before = normalised(photos.pixels)
    refused(r"^inputs range from -2.\d+ to .*look normalised", lambda: defender(before, photos.labels))


def test_inputs_of_0_to_255_are_refused_but_for_a_pixel_range_of_theirs() -> None:
    photos = Photos()
    defender = photos.defender(photos.validation)
    sentence = (
        r"inputs range from 0.\d+ to 25\d.\d+, .*scale them, or give their range as pixel_range, such as"
    )
    refused(sentence, lambda: defender(255 * photos.pixels, photos.labels))
    wide = photos.defender(255 * photos.validation, epsilon=1.5, pixel_range=(0, 255))
    moved = size(wide(255 * photos.pixels, photos.labels) - 255 * photos.pixels, "l2")
    assert (moved <= 1.5 + 1e-3).all()


def test_another_normalization_than_that_of_the_inputs_is_refused() -> None:
    photos = Photos()
    sentence = r"these are input · std \+ mean by normalization=\(0.5, 1.5\). Give the mean"
    refused(sentence, lambda: photos.defender(normalised(photos.validation), normalization=(0.5, 1.5)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-float("inf"), float("inf"))])
def test_a_nan_is_refused_with_its_example(value: float, pixel_range: tuple[float, float]) -> None:
    photos = Photos()
    bad = photos.pixels.clone()
    bad[7, 1, 2, 3] = value
    defender = photos.defender(photos.validation, pixel_range=pixel_range)
    refused(
        "inputs hold a NaN or an infinity in 1 of 12 examples, the first of them example 7",
        lambda: defender(bad, photos.labels),
    )
    photos.validation[3] = value
    refused(
        "validation inputs hold a NaN or an infinity in 1 of 20 examples, the first of them example 3",
        lambda: photos.defender(photos.validation, pixel_range=pixel_range),
    )


def test_bytes_are_refused_as_inputs_and_read_as_pixels_in_the_validation_set() -> None:
    photos = Photos()
    stored = (255 * photos.validation).byte()
    x = (255 * photos.pixels).byte()
    defenders = [photos.defender(given) for given in (stored, stored.float() / 255)]
    refused(r"inputs are torch.uint8.*inputs.float\(\) / 255", lambda: defenders[0](x, photos.labels))
    assert torch.equal(*(defender(x.float() / 255, photos.labels) for defender in defenders))
    for options in ({"normalization": NORMALIZATION}, {"pixel_range": (0, 255)}):
        refused(
            "validation inputs are torch.uint8, which is read as x/255",
            lambda o=options: photos.defender(stored, **o),
        )


def test_a_pixel_that_is_rounded_out_of_the_range_is_none_out_of_it() -> None:
    photos = Photos()
    photos.pixels[0, 0, 0, 0] = 1 + 1e-6
    assert photos.defender(photos.validation)(photos.pixels, photos.labels).max() <= 1
    white = torch.ones_like(photos.pixels)
    defender = photos.defender(normalised(photos.validation), normalization=NORMALIZATION)
    assert defender(normalised(white), photos.labels).shape == white.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_checked_too(dtype: torch.dtype) -> None:
    photos = Photos()
    defender = Defender(
        photos.model.to(dtype), photos.validation.to(dtype), photos.validation_labels, epsilon=0.7
    )
    refused("look normalised", lambda: defender(normalised(photos.pixels).to(dtype), photos.labels))


WRONG_LABELS = {
    "out of range": (torch.arange(12), r"labels range from 0 to 11; the model's classes are 0 to 4"),
    "negative": (torch.arange(12) % 5 - 1, r"labels range from -1 to 3; the model's classes are 0 to 4"),
    "floats": (torch.arange(12) % 5 * 1.0, r"labels are torch.float32; give class indices as int64"),
    "int32": ((torch.arange(12) % 5).int(), r"labels are torch.int32; give class indices as int64"),
    "too few": (torch.arange(11) % 5, r"labels have shape \(11,\) for 12 inputs"),
    "one-hot integers": (torch.eye(5).long()[torch.arange(12) % 5], r"shape \(12, 5\).*labels.float\(\)"),
    "a column": ((torch.arange(12) % 5)[:, None], r"shape \(12, 1\).*give one class index an example"),
    "a list": ([0] * 12, r"labels are a list, not a tensor"),
    "elsewhere": (
        torch.empty(12, dtype=torch.int64, device="meta"),
        r"labels are on meta, the inputs on cpu",
    ),
}


@pytest.mark.parametrize("kind", list(WRONG_LABELS))
def test_labels_that_cannot_be_right_are_refused(kind: str) -> None:
    photos = Photos()
    labels: Any
    labels, sentence = WRONG_LABELS[kind]
    defender = photos.defender(photos.validation)
    refused(sentence, lambda: defender(photos.pixels, labels))


def test_labels_of_the_validation_set_are_checked_at_once_as_far_as_they_can_be() -> None:
    photos = Photos()
    for labels, sentence in (
        (torch.arange(19) % 5, r"validation labels have shape \(19,\) for 20 inputs"),
        (torch.full((20,), -3), r"validation labels range from -3 to -3; the model's classes count from 0"),
        (torch.zeros(20), r"validation labels are torch.float32"),
    ):
        refused(sentence, lambda y=labels: Defender(photos.model, photos.validation, y, epsilon=1.0))
    defender = Defender(photos.model, photos.validation, torch.arange(20), epsilon=1.0)
    refused(
        r"validation labels range from 0 to 19; the model's classes are 0 to 4",
        lambda: defender(photos.pixels, photos.labels),
    )


def test_shares_of_classes_and_labels_that_are_left_out_are_right() -> None:
    photos = Photos()
    defender = photos.defender(photos.validation)
    shares = torch.nn.functional.one_hot(photos.labels, 5).float()
    expected = defender(photos.pixels, photos.labels)
    assert torch.allclose(defender(photos.pixels, shares), expected, atol=1e-5)
    some = photos.labels.clone()
    some[2] = -100
    corrected = defender(photos.pixels, some)
    assert torch.equal(corrected[2], photos.pixels[2])
    assert not torch.equal(corrected[3], photos.pixels[3])


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        (torch.full((12, 4), 0.25), r"labels have shape \(12, 4\); as soft labels.*the model's 5 classes"),
        (
            torch.full((12, 5), 0.5),
            r"no probabilities in 12 of 12.*example 0 range from 0.5 to 0.5.*off by 1.5",
        ),
        (torch.eye(5)[torch.arange(12) % 5] * 2 - 0.2, r"range from -0.2 to 1.8.*sum to 1 over the classes"),
        (torch.full((12, 5), float("nan")), r"no probabilities in 12 of 12 examples"),
    ],
)
def test_shares_that_are_no_probabilities_are_refused(shares: Tensor, sentence: str) -> None:
    photos = Photos()
    defender = photos.defender(photos.validation)
    refused(sentence, lambda: defender(photos.pixels, shares))


def test_labels_of_the_trusted_examples_may_be_soft() -> None:
    photos = Photos()
    shares = torch.nn.functional.one_hot(photos.validation_labels, 5).float()
    soft = Defender(photos.model, photos.validation, shares, epsilon=0.7)
    expected = photos.defender(photos.validation)(photos.pixels, photos.labels)
    assert torch.allclose(soft(photos.pixels, photos.labels), expected, atol=1e-5)


def test_targets_of_another_loss_are_not_taken_for_classes() -> None:
    photos = Photos()

    def squares(outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs[:, 0] - targets) ** 2).sum()

    defender = Defender(photos.model, photos.validation, torch.rand(20), epsilon=0.5, loss=squares)
    assert defender(photos.pixels, torch.linspace(-3, 9, 12)).shape == photos.pixels.shape
    refused(r"labels have shape \(3,\) for 12 inputs", lambda: defender(photos.pixels, torch.rand(3)))


def test_other_shapes_types_and_devices_are_refused() -> None:
    photos = Photos()
    defender = photos.defender(photos.validation)
    x, y = photos.pixels, photos.labels
    for inputs, sentence in (
        (x[0], r"inputs have shape \(3, 6, 6\), the validation inputs \(20, 3, 6, 6\); give a batch"),
        (x[:0], r"inputs have shape \(0, 3, 6, 6\)"),
        (x.long(), r"inputs are torch.int64; give floats"),
        (x.tolist(), r"inputs are a list, not a tensor"),
        (x.to("meta"), r"inputs are on meta, the model on cpu; bring them to one device"),
    ):
        refused(sentence, lambda i=inputs: defender(i, y[: len(i)]))


@pytest.mark.parametrize(
    ("normalization", "sentence"),
    [
        ((MEAN, STD[:2]), "3 means and 2 standard deviations"),
        ((0.5, 0.0), "deviations above 0"),
        ((float("nan"), 1.0), "all must be finite"),
        (0.5, r"normalization is 0.5; it must be \(mean, std\)"),
        (("a", "b"), r"it must be \(mean, std\)"),
        (([0.5] * 4, [0.25] * 4), r"4 channels, inputs of shape \(20, 3, 6, 6\) do not"),
    ],
)
def test_a_normalization_that_is_none_is_refused(normalization: Any, sentence: str) -> None:
    photos = Photos()
    refused(sentence, lambda: photos.defender(photos.validation, normalization=normalization))


@pytest.mark.parametrize("low_and_high", [(0.0, 1.0), (-1.0, 2.0)])
def test_a_perturbation_of_inputs_beyond_the_range_is_refused_since_the_clamp_would_break_the_ball(
    low_and_high: tuple[float, float],
) -> None:
    budget = Budget(0.1, "l2", *low_and_high)
    x = torch.full((2, 3), 5.0)
    refused(
        re.escape(f"inputs range from 5 to 5, outside of the budget's pixel range [{low_and_high[0]:g}"),
        lambda: budget.perturb(x, torch.zeros(2, 3)),
    )
    assert Budget(0.1, "l2", 0.0, 10.0).perturb(x, torch.zeros(2, 3)).equal(x)
    refused("range from 7 to 7", lambda: budget.perturb(torch.full((2, 3), 7).byte(), torch.zeros(2, 3)))
