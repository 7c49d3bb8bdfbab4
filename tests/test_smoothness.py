"""M against one step of torch's own SGD on a white image, and the step counts taken from it."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from cases import CLASSES, CONV
from click.testing import CliRunner
from test_level_players import BUDGET, RATE, view

from midstream import Batch, plugins
from midstream.command.main import cli
from midstream.level_k import steps_by_rule
from midstream.smoothness import estimate_smoothness
from midstream.wire import decode_tensors, encode_tensors


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
    assert seen.reports == {"smoothness": m, "pgd_steps": min(steps, 16)}
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


def test_the_command_says_m_and_the_steps() -> None:
    shown = CliRunner().invoke(cli, ["estimate", "--dataset", "digits", "--threads", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    spoken = CliRunner().invoke(cli, ["estimate", "--dataset", "digits", "--threads", "1"])
    assert "smallest over 10 labels" in spoken.output
    assert "level 4: step size" in spoken.output
