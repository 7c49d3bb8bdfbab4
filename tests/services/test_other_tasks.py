"""Games of other tasks than classification: over HTTP and in one process they end in the same bits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

import midstream
from midstream.errors import MidstreamError
from midstream.protocol.specification import Specification
from midstream.protocol.wire import BATCH_TYPE, WireBatch, decode_tensors, encode_batch
from midstream.run import datasets
from midstream.run.batches import BatchSource
from midstream.run.datasets import Dataset, Examples, Source
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services.loopback import served
from services.waiting import until

SIZES: dict[str, Any] = {"train_size": 25, "validation_size": 40, "batch_size": 10, "epochs": 2}
STEPS = 6
HERE = "services.test_other_tasks"


def log_cosh(outputs: Tensor, targets: Tensor, *, width: float = 1.0) -> Tensor:
    """A loss of one's own: the logarithm of the hyperbolic cosine."""
    error = (outputs - targets) / width
    return (error + torch.nn.functional.softplus(-2 * error) - 0.6931472).sum()


def unscaled(source: Source) -> Dataset:  # noqa: ARG001
    """A table in units of its own, whose second column may not move."""
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 3, generator=draws) * torch.tensor([100.0, 1.0, 0.01])
    targets = (inputs[:, :1] / 100 - inputs[:, 2:] * 100 + inputs[:, 1:2]).repeat(1, 2)
    train, test = (Examples(inputs[part], targets[part]) for part in (slice(80), slice(80, None)))
    return Dataset(train, test, ("first", "second"), "regression", (100.0, 0.0, 0.01))


def local(folder: Path, **settings: Any) -> midstream.GameResult:
    return midstream.play(
        **(SIZES | settings), out=folder, run="tiny", threads=1, device="cpu", follow=lambda *_: None
    )


def batches(settings: dict[str, Any]) -> list[WireBatch]:
    """Return a run's batches, as its provider sends them."""
    specification = Specification.model_validate(SIZES | settings)
    loaded = datasets.load(specification.dataset, Source(), pixel_range=specification.pixel_range)
    split = datasets.split(
        loaded, validation_size=specification.validation_size, train_size=specification.train_size, seed=0
    )
    source = BatchSource(specification, split.train)
    return [source.batch(seq) for seq in range(STEPS)]


def put(client: httpx.Client, seq: int, batch: WireBatch) -> httpx.Response:
    body = b"".join(encode_batch(batch))
    return client.put(f"/v1/runs/tiny/batches/{seq}", content=body, headers={"Content-Type": BATCH_TYPE})


def over_http(registry: Registry, attacker: str, allowed: frozenset[str], **settings: Any) -> dict[str, Any]:
    """Play a run between a provider, a proxy and a server; return its status at the end."""
    with served(make_server(registry)) as upstream:
        proxy = Proxy(upstream, AttackSettings(attacker, allowed=allowed, epsilon=settings["epsilon"]))
        with (
            served(make_app(proxy), transparent=True) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            created = client.post("/v1/runs", json=SIZES | settings | {"name": "tiny"})
            assert created.status_code == 201, created.text
            for batch in batches(settings):
                answers: list[httpx.Response] = []

                def taken(sent: WireBatch = batch, got: list[httpx.Response] = answers) -> bool:
                    got.append(put(client, sent.seq, sent))
                    return got[-1].status_code != 503

                until(taken, f"batch {batch.seq} to be taken")
                assert answers[-1].status_code == 200, answers[-1].text
            status: dict[str, Any] = {}

            def finished() -> bool:
                status.update(client.get("/v1/runs/tiny").json())
                return bool(status["state"] == "finished")

            until(finished, "the run to be finished")
            return status


@pytest.mark.parametrize(
    "settings",
    [
        {"dataset": "diabetes", "epsilon": 1.0},
        {"dataset": "diabetes", "epsilon": 0.3, "norm": "linf", "loss": "huber,delta=0.5"},
        {"dataset": "digit-traits", "epsilon": 1.0},
        {"dataset": "phrases", "epsilon": 0.5},
        {
            "dataset": f"{HERE}:unscaled",
            "loss": f"{HERE}:log_cosh,width=2",
            "epsilon": 0.5,
            "model": "mlp,hidden=8",
            "pixel_range": "unbounded",
        },
    ],
    ids=["regression", "huber", "labels", "text", "own"],
)
def test_both_transports_end_in_the_same_bits(
    registry: Registry, tmp_path: Path, settings: dict[str, Any]
) -> None:
    allowed = frozenset({f"{HERE}:unscaled", f"{HERE}:log_cosh"})
    registry.settings = replace(registry.settings, allowed=allowed)
    mine = local(tmp_path / "local", **settings, attacker="level-1", defender="level-1")
    theirs = over_http(registry, "level-1", allowed, **settings, defender="level-1")
    assert theirs["result"]["parameters_sha256"] == mine.parameters_sha256
    assert theirs["measures"] == (None if mine.measures is None else dict(mine.measures))


def test_a_regression_says_r2_and_not_accuracy(tmp_path: Path) -> None:
    result = local(tmp_path, dataset="diabetes", attacker="level-1", defender="none")
    said = result.as_dict()
    assert "test_accuracy" not in said
    assert said["test_r2"] == result.score[1]
    assert result.score[0] == "test R²"
    curve = result.metrics.evaluated()
    assert curve["test_r2"][-1] == said["test_r2"]
    assert said["test_rmse"] == curve["test_rmse"][-1] > 0
    with torch.no_grad():
        test = datasets.load("diabetes", Source(), pixel_range="unbounded").test
        outputs, targets = result.model()(test.inputs), test.labels
    error = (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()
    assert said["test_r2"] == pytest.approx(1 - error.item(), abs=1e-5)


def test_a_column_that_may_not_move_does_not(tmp_path: Path) -> None:
    with midstream.Game(
        **SIZES,
        dataset=f"{HERE}:unscaled",
        pixel_range="unbounded",
        model="mlp,hidden=8",
        epsilon=0.5,
        attacker="level-1,beta=0",
        defender="level-1",
        out=tmp_path,
        threads=1,
        device="cpu",
    ) as game:
        for step in game:
            assert step.attacked is not None
            assert step.defended is not None
            moved = step.attacked - step.clean
            assert not moved[:, 1].any()
            assert not (step.defended - step.attacked)[:, 1].any()
            units = moved[:, [0, 2]] / torch.tensor([100.0, 0.01])
            assert torch.allclose(units.norm(dim=1), torch.tensor(0.5), atol=1e-3)


@pytest.mark.parametrize(
    ("side", "name"),
    [
        ("attacker", "label-flip"),
        ("attacker", "label-flip,fraction=0.5"),
        ("attacker", "evoshift"),
        ("attacker", "cw"),
        ("defender", "level-1+cutmix"),
        ("defender", "clip"),
        ("checker", "knn"),
        ("checker", "confidence"),
    ],
)
def test_players_that_need_classes_are_refused_by_name(tmp_path: Path, side: str, name: str) -> None:
    settings = {"attacker": "none", "defender": "none"} | {side: name}
    with pytest.raises(MidstreamError, match=r"does not play regression: .*, and this run has none") as error:
        local(tmp_path, dataset="diabetes", **settings)
    assert name.split(",")[0] in str(error.value)


@pytest.mark.parametrize("settings", [{"attacker": "conversion,target=0"}, {"attacker": "none", "target": 0}])
def test_a_target_class_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises((MidstreamError, ValueError), match="target is class 0, but the task is regression"):
        local(tmp_path, dataset="diabetes", **settings)


@pytest.mark.parametrize(
    ("attacker", "checker"),
    [
        ("level-2", "loss"),
        ("pgd", "gradient-norm"),
        ("gradient-matching", "gradient-norm,layers=all"),
        ("accumulative", "loss-trajectory"),
        ("influence", "drift"),
        ("second-order", "none"),
    ],
)
def test_other_players_play_a_regression(tmp_path: Path, attacker: str, checker: str) -> None:
    result = local(tmp_path, dataset="diabetes", attacker=attacker, defender="level-2", checker=checker)
    assert result.score[0] == "test R²"


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (torch.zeros(10, dtype=torch.int64), "they are torch.int64; the targets of a regression are float32"),
        (torch.zeros(10, 2), r"they have shape (10, 2), not (10, 1), a number for each output"),
        (
            torch.full((10, 1), float("nan")),
            "they hold a NaN or an infinity; every target is a finite number",
        ),
    ],
)
def test_other_targets_are_refused(registry: Registry, targets: Tensor, said: str) -> None:
    with (
        served(make_server(registry)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        created = client.post("/v1/runs", json=SIZES | {"dataset": "diabetes", "name": "tiny"})
        assert created.json()["task"] == "regression"
        described = client.get("/v1/runs/tiny/model").json()
        assert (described["loss"], described["task"], described["scale"][1]) == ("mse", "regression", 0.0)
        validation = decode_tensors(client.get("/v1/runs/tiny/validation").content)
        assert validation["labels"].dtype == torch.float32
        answer = put(client, 0, WireBatch(0, None, torch.zeros(10, 10), targets))
        assert (answer.status_code, answer.json()["detail"]) == (422, said)


def test_a_regression_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    settings = SIZES | {"dataset": "diabetes", "attacker": "level-1", "defender": "level-1"}
    settings |= {"threads": 1, "device": "cpu"}
    whole = midstream.play(**settings, out=tmp_path, run="whole", follow=lambda *_: None)
    with midstream.Game(**settings, out=tmp_path, run="parts") as game:
        for step in game:
            if step.seq == 3:
                break
        assert set(game.measures()) == {"test_r2", "test_rmse"}
        with pytest.raises(LookupError, match=r"has no accuracy: .* has test_r2 and test_rmse"):
            game.accuracy()
    with midstream.Game(**settings, out=tmp_path, run="parts") as game:
        assert [step.seq for step in game] == [4, 5]
        assert game.result.parameters_sha256 == whole.parameters_sha256
        assert game.result.measures == whole.measures


def test_a_surrogate_learns_the_regression_that_it_is_attacked_on(tmp_path: Path) -> None:
    hidden = {"access": "black-box", "surrogate": "mlp,hidden=8", "surrogate_epochs": 1}
    result = local(tmp_path, dataset="diabetes", attacker="level-1", cache=tmp_path / "cache", **hidden)
    assert result.score[0] == "test R²"


def test_the_file_of_a_loss_belongs_to_the_game(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def square(outputs, targets):\n    return (outputs - targets).square().sum()\n")
    result = local(tmp_path, dataset="diabetes", attacker="level-1", loss=f"{own}:square")
    assert list(json.loads((result.folder / "plugins.json").read_text())) == [f"{own}:square"]
    usual = local(tmp_path / "usual", dataset="diabetes", attacker="level-1")
    assert result.score[1] == pytest.approx(usual.score[1], abs=1e-4)  # the squared error under another name
