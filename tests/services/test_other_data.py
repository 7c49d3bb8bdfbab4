"""Processes of one run whose data are not the same, or wrong: said before the first batch, of the data."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from midstream.protocol.messages.runs import Status
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.run.batches import load_split
from midstream.run.datasets import Source, load
from midstream.run.datasets.dataset_checks import DifferentDatasetError
from midstream_provider.push import load_source
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.surrogates.surrogate import SurrogateError, SurrogateSettings
from midstream_proxy.white_box import AttackedRun
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery.resuming import left_behind
from midstream_server.runs.training import TrainingRun
from services import tiny
from services.conftest import Ended
from services.loopback import client_of, served
from services.tiny import SPECIFICATION, TinyRun, problem

pytestmark = pytest.mark.slow

UNSEEDED = '''
from dataclasses import replace

import torch
from midstream.run.datasets import Examples, digits


def data(source):
    """Digits, one pixel of which is another each time."""
    found = digits(source)
    inputs = found.train.inputs.clone()
    inputs[0, 0, 0, 0] = torch.rand((), generator=torch.Generator().manual_seed(torch.seed()))
    return replace(found, train=Examples(inputs, found.train.labels))
'''
MISLABELLED = UNSEEDED.replace("inputs[0, 0, 0, 0] =", "found.train.labels[3] = 10\n    unused =")
DIFFERS = r"data set '.*mine.py:data' of this process differs from the run's: its SHA-256 is [0-9a-f]{12}…"
LOOKS_AHEAD = "level-1,utility=exact,lookahead=1"


@pytest.fixture
def unseeded(tmp_path: Path) -> str:
    """Return the name of a data set that is another one each time."""
    return plugin(tmp_path, UNSEEDED)


def plugin(folder: Path, code: str) -> str:
    path = folder / "mine.py"
    path.write_text(code)
    return f"{path}:data"


def settings_of(name: str) -> dict[str, Any]:
    return {"dataset": name, "epsilon": 1.5, "model": "digits-cnn"}


@contextmanager
def serving(folder: Path, name: str) -> Iterator[tuple[str, TinyRun]]:
    """Give the address of a server with a run on a data set, and the run."""
    registry = tiny.registry(folder / "runs", allowed=frozenset([name]))
    with (
        served(make_server(registry)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield url, TinyRun(client, **settings_of(name))


def test_a_status_and_the_run_folder_tell_the_digest(run: TinyRun, registry: Registry) -> None:
    digest = load("digits", Source()).sha256()
    assert run.status()["dataset_sha256"] == digest
    folder = registry.settings.out / "tiny"
    assert json.loads((folder / "environment.json").read_text())["dataset_sha256"] == digest


def test_a_provider_of_other_data_says_so_before_the_first_batch(
    unseeded: str, tmp_path: Path, midstream: Callable[..., Ended]
) -> None:
    with serving(tmp_path, unseeded) as (url, run):
        ended = midstream("provide", "--server", url, "--allow", unseeded)
        assert run.status()["step"] == 0
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(f"midstream: data set {unseeded!r} of this process differs")
    assert "If the data set is a function, seed it" in ended.err


def test_a_server_that_tells_no_digest_is_compared_by_its_sizes(run: TinyRun) -> None:
    status = Status.model_validate(run.status() | {"dataset_sha256": None})
    assert len(load_source(status, Source(), allowed=[]).train) == 25
    with pytest.raises(DifferentDatasetError):
        load_source(status.model_copy(update={"dataset_sha256": "0" * 64}), Source(), allowed=[])


def test_a_game_whose_attacker_has_other_data_ends_with_a_sentence(
    unseeded: str, tmp_path: Path, midstream: Callable[..., Ended]
) -> None:
    words = ["--dataset", unseeded, "--epsilon", "1.5", "--model", "digits-cnn", "--attacker", LOOKS_AHEAD]
    words += ["--train-size", "25", "--validation-size", "40", "--batch-size", "10", "--epochs", "2"]
    words += ["--threads", "1", "--device", "cpu", "--transport", "local", "--out", str(tmp_path / "out")]
    ended = midstream("play", *words)
    assert ended.code == 1
    assert "of this process differs from the run's" in ended.err.splitlines()[-1]
    assert "attacker 'level-1" not in ended.err


@contextmanager
def training(name: str) -> Iterator[TrainingRun]:
    specification = Specification.model_validate(SPECIFICATION | settings_of(name))
    yield TrainingRun(specification, load_split(specification, Source()), device=torch.device("cpu"))


def test_an_attacker_that_has_other_data_is_not_blamed_and_not_passed_clean(unseeded: str) -> None:
    settings = AttackSettings(LOOKS_AHEAD, allowed=None, on_error="pass-clean")
    with training(unseeded) as run:
        attacked = AttackedRun(LocalGame(run), settings)
        with pytest.raises(DifferentDatasetError, match=DIFFERS):
            attacked.attack(tiny.batch(0))


def test_a_surrogate_is_not_trained_on_other_data(unseeded: str, tmp_path: Path) -> None:
    surrogate = SurrogateSettings(epochs=1, train_size=20, cache=tmp_path)
    with training(unseeded) as run:
        run.specification = run.specification.model_copy(update={"access": "black-box"})
        with pytest.raises(SurrogateError, match=DIFFERS):
            BlackBoxRun(LocalGame(run), AttackSettings("level-1", allowed=None, surrogate=surrogate))


def test_a_proxy_answers_that_its_data_are_not_the_runs(unseeded: str, tmp_path: Path) -> None:
    with serving(tmp_path, unseeded) as (upstream, run):
        proxy = Proxy(upstream, AttackSettings(LOOKS_AHEAD, allowed=frozenset([unseeded])))
        with (
            served(make_app(proxy), transparent=True) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            answer = client.put(
                f"{run.path}/batches/0", content=tiny.body(0), headers={"Content-Type": "application/msgpack"}
            )
        found = problem(answer, 500)
        assert found["title"] == "The attacker lacks the run's data"
        assert "of this process differs from the run's" in found["detail"]
        assert run.status()["step"] == 0


def test_a_run_does_not_go_on_with_other_data(unseeded: str, tmp_path: Path) -> None:
    with serving(tmp_path, unseeded) as (_, run):
        begun = run.status()["dataset_sha256"]
    again = tiny.registry(tmp_path / "runs", allowed=frozenset([unseeded]))
    again.take_up(left_behind(tmp_path / "runs"))
    why = again.set_aside["tiny"].sentence
    assert re.search(rf"run 'tiny' was started with dataset_sha256 {begun}, here [0-9a-f]+", why), why
    anyway = tiny.registry(tmp_path / "runs", allowed=frozenset([unseeded]), resume_anyway=True)
    anyway.take_up(left_behind(tmp_path / "runs"))
    with client_of(make_server(anyway)) as client:
        assert TinyRun.found(client).status()["dataset_sha256"] != begun
    recorded = json.loads((tmp_path / "runs/tiny/environment.json").read_text())
    assert recorded["resumed_with"][0][0].startswith("dataset_sha256")


def test_a_label_out_of_range_is_the_data_sets_fault(tmp_path: Path, midstream: Callable[..., Ended]) -> None:
    name = plugin(tmp_path, MISLABELLED)
    words = ["--dataset", name, "--epsilon", "1.5", "--train-size", "1000", "--validation-size", "400"]
    ended = midstream("play", *words, "--transport", "local", "--out", str(tmp_path / "out"))
    assert ended.code == 1
    said = ended.err.splitlines()[-1]
    assert said.startswith(
        f"midstream: data set {name!r}, train: labels range from 0 to 10 (example 3 has 10)"
    )
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset([name]))
    with pytest.raises(Problem, match="labels range from 0 to 10") as caught:
        registry.create(Specification.model_validate(SPECIFICATION | settings_of(name)))
    assert caught.value.status == 422
