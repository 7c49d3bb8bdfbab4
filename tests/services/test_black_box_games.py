"""A run that shows no model, attacked over HTTP: by way of a surrogate, and with patience while it trains."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import httpx
import pytest
from torch import Tensor

from midstream import Batch, View
from midstream.protocol.wire import decode_batch
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.commands import Command
from services.games import in_one_process
from services.loopback import served
from services.recorder import Recorder
from services.tiny import STEPS, TinyRun, problem
from services.waiting import until

pytestmark = pytest.mark.slow

EPOCHS = 4
BROKEN = """
class Broken:
    def perturb(self, batch, view):
        raise KeyError("no idea")
"""
CLOSED = (b"/model", b"/parameters", b"/validation-gradient", b"/optimizer")


@dataclass(frozen=True)
class Middle:
    """A black-box run, played through a proxy."""

    run: TinyRun
    recorder: Recorder


class Between(Protocol):
    def __call__(self, attacker: str = "level-1", **settings: Any) -> AbstractContextManager[Middle]: ...


@pytest.fixture
def between(registry: Registry, tmp_path: Path) -> Between:
    @contextmanager
    def start(attacker: str = "level-1", **settings: Any) -> Iterator[Middle]:
        recorder = Recorder(make_server(registry))
        surrogate = SurrogateSettings(epochs=EPOCHS, cache=tmp_path / "cache")
        with served(recorder) as upstream:
            proxy = Proxy(upstream, AttackSettings(attacker, surrogate=surrogate))
            with (
                served(make_app(proxy), transparent=True) as url,
                httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
            ):
                run = TinyRun(client, **{"access": "black-box"} | settings)
                yield Middle(run, recorder)

    return start


def answered(run: TinyRun) -> httpx.Response:
    """Send a run's first batch, again and again while the attacker gets ready; return the answer then."""
    answers: list[httpx.Response] = []

    def ready() -> bool:
        answers.append(run.put(0))
        return answers[-1].status_code != 503

    until(ready, "the attacker to be ready")
    return answers[-1]


def play(run: TinyRun) -> dict[str, Any]:
    """Play a run to its end; return the result."""
    assert answered(run).status_code == 200
    run.play(1)
    result: dict[str, Any] = run.until("finished")["result"]
    return result


@pytest.mark.parametrize("defender", ["none", "level-1"])
def test_over_http_and_in_one_process_it_is_the_same_game(
    between: Between, tmp_path: Path, defender: str
) -> None:
    here = {"access": "black-box", "surrogate_epochs": EPOCHS, "cache": tmp_path / "another"}
    local = in_one_process(tmp_path / "local", "level-1", defender, **here)
    white = in_one_process(tmp_path / "white", "level-1", defender)
    with between(defender=defender) as middle:
        ended = play(middle.run)["parameters_sha256"]
    assert ended == local["parameters_sha256"] != white["parameters_sha256"]


def test_nothing_that_is_closed_is_asked_for(between: Between) -> None:
    with between() as middle:
        middle.run.put(0, tiny.body(0))
        play(middle.run)
        own = f"/v1/runs/{middle.run.name}".encode()
        read = [seen.target for seen in middle.recorder.requests if seen.method == "GET"]
        assert own + b"/validation" in read
        assert not [target for target in read if target.startswith(tuple(own + part for part in CLOSED))]
        for seq, body in enumerate(middle.recorder.batches[-STEPS:]):
            attacked = decode_batch(body)
            assert attacked.seq == seq
            assert attacked.parameters_version is None
            assert (attacked.inputs - tiny.batch(seq).inputs).flatten(1).norm(dim=1).min() > 0


def test_how_many_inputs_were_known_is_in_the_metrics(between: Between) -> None:
    with between() as middle:
        play(middle.run)
        records = middle.run.until_recorded(STEPS)
        known = [record["attacker"]["known_inputs"] for record in records]
        assert known == [len(tiny.batch(seq).labels) for seq in range(STEPS)]
        assert {record["attacker"]["unknown_inputs"] for record in records} == {0}


class Gated:
    """Makes no move before it is let."""

    gate = Event()

    def perturb(self, batch: Batch, view: View) -> Tensor:
        assert self.gate.wait(60)
        return view.budget.epsilon * view.budget.direction(0.5 - batch.inputs)


@pytest.fixture
def gate() -> Iterator[Event]:
    Gated.gate.clear()
    yield Gated.gate
    Gated.gate.set()


def test_a_provider_is_asked_for_patience_while_the_surrogate_trains(between: Between, gate: Event) -> None:
    with between("services.test_black_box_games:Gated") as middle:
        response = middle.run.put(0)
        assert response.headers["Retry-After"] == "1"
        waiting = problem(response, 503)["detail"]
        assert "learns what it needs for run 'tiny': surrogate, epoch 1: step 0 of" in waiting
        assert f"{middle.run.name!r}" in waiting
        other = TinyRun(middle.run.client, name="other")
        assert f"{middle.run.name!r}" in problem(other.put(0), 503)["detail"]  # one at a time
        assert middle.run.status()["state"] == "waiting"  # everything else passes meanwhile
        assert middle.recorder.batches == []
        gate.set()
        play(middle.run)
        play(other)


@pytest.mark.logs_errors
def test_an_attacker_without_the_data_is_refused_in_a_sentence(registry: Registry, between: Between) -> None:
    dataset = (
        "midstream.run.datasets:digits"  # which the server was told that it may load, and the proxy was not
    )
    registry.settings = replace(registry.settings, allowed=frozenset({dataset}))
    with between(dataset=dataset) as middle:
        found = problem(middle.run.put(0), 500)
        assert "black-box" in found["detail"]
        assert f"--allow {dataset}" in found["detail"]
        assert middle.recorder.batches == []


@pytest.mark.logs_errors
def test_an_attacker_that_breaks_on_its_surrogate_is_refused_each_time(
    between: Between, tmp_path: Path
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    with between(f"{plugin}:Broken") as middle:
        for _ in range(2):
            assert "no idea" in problem(answered(middle.run), 500)["detail"]
        assert middle.recorder.batches == []


@pytest.mark.process
def test_a_proxy_that_is_stopped_goes_on_with_the_training(
    server: httpx.Client, tmp_path: Path, port: int
) -> None:
    own = ["--port", str(port), "--server", str(server.base_url), "--threads", "1"]
    attack = ["attack", *own, "--cache", str(tmp_path / "cache"), "--surrogate-epochs", "1000000"]
    run = TinyRun(server, access="black-box")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as run.client:
        with Command(tmp_path, *attack) as first:
            first.until_it_says("listening on")
            learns = "the attacker learns what it needs for run 'tiny': surrogate, epoch"
            until(lambda: learns in problem(run.put(0), 503)["detail"], "the surrogate to be trained")
            first.until_it_says("training a surrogate")
            assert first.end(signal.SIGTERM) == 0
            assert first.err.splitlines()[-1] == "proxy: stopped"
            assert "Traceback" not in first.err
        with Command(tmp_path, *attack) as again:
            again.until_it_says("listening on")
            problem(run.put(0), 503)
            again.until_it_says("training a surrogate, auto, for at most 1000000 epochs, from step")
