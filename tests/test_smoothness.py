"""M against one step of torch's own SGD on a white image, and the step counts taken from it."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from cases import CLASSES, CONV, Problem
from click.testing import CliRunner
from torch import nn
from views import BUDGET, RATE, view

from midstream import Batch, Budget, plugins
from midstream.command.main import cli
from midstream.mathematics.level_k_rules import steps_by_rule
from midstream.mathematics.smoothness import estimate_smoothness
from midstream.protocol.wire import decode_tensors, encode_tensors


def test_m_is_what_a_step_on_a_white_image_changes() -> None:
    p = CONV.build()
    found = estimate_smoothness(p.model, p.validation_inputs, p.validation_labels, learning_rate=RATE)
    assert len(found.by_class) == CLASSES
    for label, value in enumerate(found.by_class):
        stepped = deepcopy(p.model)
        image = torch.ones_like(p.inputs[:1])
        F.cross_entropy(stepped(image), torch.tensor([label])).backward()  # type: ignore[no-untyped-call]
        torch.optim.SGD(stepped.parameters(), lr=RATE).step()
        with torch.no_grad():
            before, after = (
                F.cross_entropy(model(p.validation_inputs), p.validation_labels, reduction="sum")
                for model in (p.model, stepped)
            )
        assert value == pytest.approx(image.numel() ** 0.5 * abs(float(after - before)), rel=1e-9)
    assert found.value == min(found.by_class)


@pytest.mark.parametrize("side", ["attackers", "defenders"])
def test_a_level_estimates_m_once_and_reports_what_it_did(side: str) -> None:
    p = CONV.build()
    m = estimate_smoothness(p.model, p.validation_inputs, p.validation_labels, learning_rate=RATE).value
    player = plugins.make(side, "level-3")  # type: ignore[arg-type]
    seen, later = view(p), view(p)
    player.perturb(Batch(0, p.inputs, p.labels), seen)
    steps = steps_by_rule(3, smoothness=m, epsilon=BUDGET.epsilon, c=2.0)
    assert seen.reports == {"smoothness": m, "rule_c": 2.0, "pgd_steps": min(steps, 16)}
    for parameter in p.model.parameters():
        parameter.data.mul_(1.5)  # the model moves on, M stays that of the first batch
    player.perturb(Batch(1, p.inputs, p.labels), later)
    assert later.reports == seen.reports
    again = plugins.make(side, "level-3")  # type: ignore[arg-type]
    again.load_state_dict(decode_tensors(encode_tensors(player.state_dict())))
    resumed = view(p)
    again.perturb(Batch(2, p.inputs, p.labels), resumed)
    assert resumed.reports == seen.reports


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("level-2,smoothness=9", 16),
        ("level-2,smoothness=9,max_steps=5", 5),
        ("level-4,smoothness=9,max_steps=2", 4),  # never fewer than k
        ("level-3,smoothness=0.001", 3),
    ],
)
def test_the_rule_is_capped_and_takes_at_least_k(text: str, steps: int) -> None:
    p = CONV.build()
    seen = view(p)
    plugins.make("defenders", text).perturb(Batch(0, p.inputs, p.labels), seen)
    assert seen.reports["pgd_steps"] == steps


PAPER = {
    "mnist": ((1, 28, 28), 3.0, 0.203, 2.0, [2, 3, 7]),
    "cifar10": ((3, 32, 32), 2.0, 0.351, 0.5, [2, 3, 6]),
    "photos": ((3, 256, 256), 4.0, 1.04, 0.01, [2, 3, 16]),
}


@pytest.mark.parametrize("side", ["attackers", "defenders"])
@pytest.mark.parametrize("name", PAPER)
def test_a_player_takes_the_papers_counts_on_images_of_each_size(name: str, side: str) -> None:
    shape, epsilon, smoothness, c, counts = PAPER[name]
    x, y = torch.rand(2, *shape), torch.tensor([0, 1])
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * shape[0], 2))
    p = Problem(model, x, y, x, y)
    for k, count in zip((2, 3, 4), counts, strict=True):
        seen = view(p, Budget(epsilon))
        player = plugins.make(side, f"level-{k},smoothness={smoothness}")  # type: ignore[arg-type]
        player.perturb(Batch(0, x, y), seen)
        assert (seen.reports["pgd_steps"], seen.reports["rule_c"]) == (count, c)


IMAGES = """
import torch
from midstream.run.datasets import Dataset, Examples

def images(source):
    random = torch.Generator().manual_seed(0)
    part = Examples(torch.rand(30, 3, 32, 32, generator=random), torch.arange(30) % 2)
    return Dataset(part, part, ("a", "b"))
"""


def test_the_command_takes_c_from_the_size_of_the_images(tmp_path: Path) -> None:
    (tmp_path / "images.py").write_text(IMAGES)
    dataset = ["--dataset", f"{tmp_path}/images.py:images", "--model", "logistic", "--validation-size", "10"]
    for arguments, c in ((dataset, 0.5), ([*dataset, "--c", "3"], 3.0), (["--dataset", "digits"], 2.0)):
        shown = CliRunner().invoke(cli, ["estimate", *arguments, "--threads", "1", "--json"])
        assert shown.exit_code == 0, shown.output
        assert json.loads(shown.stdout)["c"] == c


def test_the_command_says_m_and_the_steps() -> None:
    shown = CliRunner().invoke(cli, ["estimate", "--dataset", "digits", "--threads", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    spoken = CliRunner().invoke(cli, ["estimate", "--dataset", "digits", "--threads", "1"])
    assert "minimum over 10 labels" in spoken.output
    assert "level 4: step size" in spoken.output
