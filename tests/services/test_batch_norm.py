"""A model with batch norm is refused with a way out, kept in evaluation mode, or trained, on both sides."""

import shutil
from pathlib import Path

import httpx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from midstream.command.main import cli
from midstream.plugins import PluginError
from midstream.run.models import build_model
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.games import in_one_process, over_http
from services.loopback import client_of
from services.tiny import SPECIFICATION, STEPS, TinyRun, problem

pytestmark = pytest.mark.slow

NETWORKS = """
import torch
from torch import nn


def with_batch_norm(input_shape, classes, *, track: bool = True):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3),
        nn.BatchNorm2d(4, track_running_stats=track),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, classes),
    )


def in_evaluation_mode(input_shape, classes):
    return with_batch_norm(input_shape, classes).eval()


class ScaleAndShift(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return (x / (1 + 1e-5) ** 0.5) * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def with_scale_and_shift(input_shape, classes):
    model = with_batch_norm(input_shape, classes)
    model[1] = ScaleAndShift()
    return model
"""


@pytest.fixture
def networks(tmp_path: Path) -> str:
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return str(path)


@pytest.fixture
def registry(networks: str, tmp_path: Path) -> Registry:
    """Return the runs of a server that may load the networks above."""
    names = ("with_batch_norm", "in_evaluation_mode", "with_scale_and_shift")
    return tiny.registry(tmp_path / "runs", allowed=frozenset(f"{networks}:{name}" for name in names))


def test_it_is_refused_with_a_reason_and_a_way_out(registry: Registry, networks: str) -> None:
    with client_of(make_app(registry)) as server:
        refused = server.post("/v1/runs", json=SPECIFICATION | {"model": f"{networks}:with_batch_norm"})
        detail = problem(refused, 422)["detail"]
        for words in (f"{networks}:with_batch_norm", "layer '1'", "couples the examples", "group norm"):
            assert words in detail
        assert "--batch-norm evaluation" in detail
        assert "--batch-norm training" in detail
        unknown = problem(server.post("/v1/runs", json=SPECIFICATION | {"batch_norm": "train"}), 422)
        assert "batch_norm" in unknown["detail"]
        assert server.get("/v1/runs").json() == {"runs": []}


def test_a_layer_without_running_statistics_has_no_way_out(networks: str) -> None:
    text = f"{networks}:with_batch_norm,track=false"
    with pytest.raises(
        PluginError, match="layer '1' is batch norm over the statistics of its batch"
    ) as caught:
        build_model(text, (1, 8, 8), 10, batch_norm="evaluation")
    assert "--batch-norm" not in str(caught.value)


@pytest.mark.parametrize("mode", ["evaluation", "training", "training-with-v"])
@pytest.mark.parametrize("gradient", ["server", "own"])
def test_it_is_the_same_game_everywhere(
    registry: Registry, networks: str, tmp_path: Path, gradient: str, mode: str
) -> None:
    settings = {"model": f"{networks}:with_batch_norm", "batch_norm": mode}
    local = in_one_process(tmp_path / "local", "level-1", "level-1", **settings)
    served = over_http(registry, "level-1", "level-1", gradient, **settings)
    assert served["parameters_sha256"] == local["parameters_sha256"]


def test_a_run_that_trains_it_goes_on_to_the_same_bits(
    registry: Registry, networks: str, tmp_path: Path
) -> None:
    settings = {"model": f"{networks}:with_batch_norm", "batch_norm": "training", "defender": "level-1"}
    with client_of(make_app(registry)) as server:
        run = TinyRun(server, **settings)
        run.play(0, 3)
        run.until_recorded(3)
        left = Path(shutil.copytree(tmp_path / "runs", tmp_path / "crashed"))
        run.play(3)
        whole, moved = run.sha256(), run.parameters()
    assert moved["1.num_batches_tracked"] == STEPS
    again = tiny.registry(left, allowed=registry.settings.allowed, checkpoint_every=2)
    again.take_up(["tiny"])
    with client_of(make_app(again)) as server:
        resumed = TinyRun.found(server)
        resumed.until_recorded(3)
        resumed.play(3)
        assert resumed.sha256() == whole


def test_a_wrong_player_is_refused_before_the_game(registry: Registry, networks: str) -> None:
    settings = {"model": f"{networks}:with_batch_norm", "batch_norm": "training"}
    with client_of(make_app(registry)) as server:
        body = SPECIFICATION | settings | {"defender": "level-1,utility=exact"}
        detail = problem(server.post("/v1/runs", json=body), 422)["detail"]
        assert "defender 'level-1,utility=exact' does not play against batch norm that trains" in detail
    for refused in ("atn", "level-2"):
        words = ["play", "--transport", "local", "--attacker", refused, "--dataset", "digits"]
        words += ["--model", settings["model"], "--batch-norm", "training", "--max-steps", "1"]
        played = CliRunner().invoke(cli, words)
        assert isinstance(played.exception, PluginError)
        assert str(played.exception).startswith(f"attacker '{refused}' does not play against batch norm")


def test_its_statistics_stay_as_they_are_and_only_scale_and_shift_are_trained(
    registry: Registry, networks: str
) -> None:
    with client_of(make_app(registry)) as server:
        kept = TinyRun(server, name="kept", model=f"{networks}:with_batch_norm", batch_norm="evaluation")
        plain = TinyRun(server, name="plain", model=f"{networks}:with_scale_and_shift")
        mode = TinyRun(server, name="mode", model=f"{networks}:in_evaluation_mode")
        for run in (kept, plain, mode):
            run.play(0)
        theta, expected = kept.parameters(), plain.parameters()
        assert mode.sha256() == kept.sha256()  # its maker had put it into evaluation mode
    untrained = nn.BatchNorm2d(4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(theta.pop(f"1.{name}"), untrained.state_dict()[name])
    assert theta.keys() == expected.keys()
    assert all(torch.allclose(theta[name], expected[name], atol=1e-5) for name in theta)
    assert not torch.allclose(theta["1.weight"], torch.ones(4), atol=1e-4)


def test_a_network_without_it_is_the_same_either_way(server: httpx.Client) -> None:
    runs = [TinyRun(server, name=mode, batch_norm=mode) for mode in ("refuse", "evaluation", "training")]
    for run in runs:
        run.play(0)
    assert len({run.sha256() for run in runs}) == 1
