"""What a defender reports of itself."""

import re
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from midstream import Defender

MEAN, STD = 0.5, 0.25


def defender(epsilon: float = 0.5) -> Defender:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
    trusted = (torch.rand(20, 4, generator=torch.Generator().manual_seed(1)) - MEAN) / STD
    return Defender(model, trusted, torch.arange(20) % 3, epsilon=epsilon, normalization=(MEAN, STD))


def batch(count: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 4, generator=torch.Generator().manual_seed(count))
    return (x - MEAN) / STD, torch.arange(count) % 3


def test_distances_are_those_of_the_pixels_and_add_up_over_the_calls() -> None:
    one = defender()
    distances = []
    for count in (3, 5, 7):
        x, y = batch(count)
        y[0] = -100  # left out of the loss, so its example is not moved
        distances.append(((one(x, y) - x) * STD).norm(dim=1))
    report = one.report()
    assert (report.calls, report.examples, report.unmoved, report.refused) == (3, 15, 3, 0)
    every = torch.cat(distances)
    assert report.moved_mean == pytest.approx(float(every.mean()), rel=1e-4)
    assert report.moved_max == pytest.approx(float(every.max()), rel=1e-4)
    assert report.moved_max <= 0.5 + 1e-5
    assert report.recent == pytest.approx([float(one.mean()) for one in distances], rel=1e-4)
    assert report.order == "reverse-over-forward"


def test_more_calls_than_are_read_at_once_are_counted_once() -> None:
    one = defender()
    for number in range(70):
        one(*batch(3))
        if number == 65:
            assert one.report().calls == 66
    assert one.report().calls == 70
    assert one.report().examples == 210


def test_times_are_positive_and_their_share_of_the_step_is_one() -> None:
    one = defender()
    assert one.report().share is None
    for _ in range(4):
        one(*batch(3))
        torch.rand(300, 300) @ torch.rand(300, 300)
    report = one.report()
    assert report.seconds_v > 0
    assert report.seconds_correction > 0
    assert report.seconds_check > report.seconds_v  # the first call checks the derivatives
    assert report.share is not None
    assert 0 < report.share <= 1


def test_refusals_are_counted_and_the_last_one_is_told() -> None:
    one = defender()
    x, y = batch(3)
    for wrong in (x + 100, x * float("nan")):
        with pytest.raises(ValueError, match=r"outside|NaN"):
            one(wrong, y)
    report = one.report()
    assert (report.calls, report.refused) == (0, 2)
    assert "NaN" in str(report)
    one(x, y)
    assert one.report().calls == 1


def test_text_and_picture_say_the_same_and_hold_no_markup_of_others() -> None:
    one = defender()
    for count in (3, 5, 7, 9):
        one(*batch(count))
    with pytest.raises(ValueError, match="labels range"):
        one(batch(3)[0], torch.tensor([0, 1, 3]))
    report = one.report()
    text, html = str(report), report._repr_html_()
    assert text.startswith("Defender: 4 calls, 24 examples, 1 refused")
    for name, value in report.rows().items():
        assert re.search(rf"^{re.escape(name)} +{re.escape(value)}$", text, re.MULTILINE)
    assert "model's classes" in text
    assert "model&#x27;s classes" in html
    found = re.search("<polyline points='(.*?)'", html)
    assert found is not None
    points = [tuple(map(float, point.split(","))) for point in found[1].split()]
    assert len(points) == 4
    assert all(a[0] < b[0] for a, b in pairwise(points))
    lower, upper = sorted(report.recent)[0], sorted(report.recent)[-1]
    assert points[report.recent.index(lower)][1] >= points[report.recent.index(upper)][1]


def test_a_defender_that_never_moved_has_a_report_too() -> None:
    assert str(defender().report()) == "Defender: 0 calls, 0 examples, 0 refused"
    still = defender(epsilon=0)
    for _ in range(2):
        still(*batch(3))
    assert still.report().moved_max == 0
    assert "<svg" in still.report()._repr_html_()
