"""A batch that a player fails at goes on as it came, where that was chosen: counted, shown, and no other."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from midstream import pixels
from midstream.protocol.messages.runs import Status
from midstream.protocol.specification import Specification
from midstream_provider.ending import result_table
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.conftest import Ended
from services.loopback import client_of, served
from services.small_games import played, training
from services.tiny import STEPS, TinyRun, problem

pytestmark = pytest.mark.slow

FAULTY = str(Path(__file__).parents[1] / "faulty_players.py")
BREAKS, SHORTER, GOOD = (f"{FAULTY}:{name}" for name in ("Breaks", "AugmentsShorter", "Good"))
"""The first fails at batch 2, the second at each, when it has moved the inputs already; the last at none."""

FAULTS = {
    "raises": "raise KeyError('out of ideas')",
    "a NaN": "return batch.inputs * float('nan')",
    "another shape": "return batch.inputs[:, :, :4]",
    "no tensor": "return None",
}
PLAYER = """
class Moody:
    def perturb(self, batch, view):
        view.report("mood", 1)
        if batch.seq == 1:
            {fault}
        return batch.inputs * 0
"""


def moody(tmp_path: Path, fault: str) -> str:
    (tmp_path / "moody.py").write_text(PLAYER.format(fault=FAULTS[fault]))
    return f"{tmp_path / 'moody.py'}:Moody"


def pass_clean_run(tmp_path: Path, defender: str) -> Registry:
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset({defender}))
    registry.create(
        Specification.model_validate(tiny.SPECIFICATION | {"defender": defender, "on_error": "pass-clean"})
    )
    return registry


@pytest.mark.parametrize("fault", FAULTS)
def test_the_batch_is_trained_on_as_it_arrived(fault: str, tmp_path: Path, server: httpx.Client) -> None:
    defender = moody(tmp_path, fault)
    undisturbed = TinyRun(server)
    undisturbed.play(0)
    with client_of(make_server(pass_clean_run(tmp_path / "clean", defender))) as client:
        run = TinyRun.found(client)
        run.play(0)
        assert run.until("finished")["result"]["passed_clean"] == {"attacker": 0, "defender": 1}
        assert run.sha256() == undisturbed.sha256()
        records = run.until_recorded(STEPS)
        reports = [record["defender"] for record in records]
        assert reports == [{"mood": 1}, {"passed_clean": 1}, *[{"mood": 1}] * 4]
        assert records[1]["correction"] == 0
        assert run.status()["passed_clean"]["defender"] == 1
        headings, figures = result_table(Status.model_validate(run.status())).splitlines()
        assert headings.endswith("validation loss  failures of the defender")
        assert figures.endswith(" 1")
        counted = 'midstream_passed_clean{run="tiny",side="defender"} 1.0'
        assert counted in client.get("/metrics").text


def test_of_a_defender_that_fails_after_its_move_nothing_is_left(
    tmp_path: Path, server: httpx.Client
) -> None:
    undisturbed = TinyRun(server)
    undisturbed.play(0)
    with client_of(make_server(pass_clean_run(tmp_path / "clean", SHORTER))) as client:
        run = TinyRun.found(client)
        run.play(0)
        assert run.until("finished")["result"]["passed_clean"]["defender"] == STEPS
        assert run.sha256() == undisturbed.sha256()


def test_a_run_that_goes_on_after_a_crash_counts_on(tmp_path: Path) -> None:
    with client_of(make_server(pass_clean_run(tmp_path, BREAKS))) as client:
        run = TinyRun.found(client)
        run.play(0, 4)
        run.until_recorded(4)
        shutil.copytree(tmp_path / "runs", tmp_path / "crashed")
        run.play(4)
        expected = run.until("finished")["result"]["parameters_sha256"], run.sha256()
    registry = tiny.registry(tmp_path / "crashed", allowed=frozenset({BREAKS}))
    registry.take_up(left_behind(tmp_path / "crashed"))
    with client_of(make_server(registry)) as client:
        again = TinyRun.found(client)
        again.play(4)
        result = again.until("finished")["result"]
        assert (result["parameters_sha256"], again.sha256()) == expected
        assert result["passed_clean"] == {"attacker": 0, "defender": 1}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_batch_is_sent_on_as_it_came(fault: str, tmp_path: Path) -> None:
    settings = AttackSettings(moody(tmp_path, fault), on_error="pass-clean", allowed=None)
    attacked = AttackedRun(LocalGame(training()), settings)
    sent = attacked.attack(tiny.batch(1), version=0)
    assert torch.equal(sent.inputs, pixels(tiny.batch(1).inputs))
    assert torch.equal(sent.labels, tiny.batch(1).labels)
    assert (sent.parameters_version, sent.report) == (0, {"passed_clean": 1})


def test_half_an_attack_does_not_go_on() -> None:
    class Mislabels:
        def perturb(self, batch: Any, view: Any) -> torch.Tensor:
            return torch.full_like(batch.inputs, view.budget.epsilon)

        def relabel(self, batch: Any, view: Any) -> torch.Tensor:  # noqa: ARG002
            raise KeyError("no label")

    settings = AttackSettings("none", on_error="pass-clean")
    sent = AttackedRun(LocalGame(training()), settings, player=Mislabels()).attack(tiny.batch(0))
    assert torch.equal(sent.inputs, pixels(tiny.batch(0).inputs))


@pytest.mark.parametrize("asks_at", ["perturb", "relabel"])
def test_that_the_server_is_away_is_no_failure_of_the_attacker(asks_at: str) -> None:
    class Away(LocalGame):
        def validation_gradient(self, version: int) -> Any:
            raise ConnectionError(f"nobody answers for version {version}")

    class Asks:
        def perturb(self, batch: Any, view: Any) -> Any:
            if asks_at == "perturb":
                view.validation_gradient()
            return 0 * batch.inputs

        def relabel(self, batch: Any, view: Any) -> Any:  # noqa: ARG002
            return view.validation_gradient()

    settings = AttackSettings("none", on_error="pass-clean")
    attacked = AttackedRun(Away(training()), settings, player=Asks())
    with pytest.raises(ConnectionError, match="version 0"):
        attacked.attack(tiny.batch(0))


@pytest.mark.process
def test_a_game_is_the_same_over_http_and_tells_both_counts(
    midstream: Callable[..., Ended], tmp_path: Path
) -> None:
    words = ["--attacker", BREAKS, "--defender", SHORTER, "--on-error", "pass-clean"]
    outcomes = [
        played(midstream, *words, "--transport", transport, "--out", str(tmp_path / transport))
        for transport in ("http", "local")
    ]
    assert outcomes[0]["parameters_sha256"] == outcomes[1]["parameters_sha256"]
    for outcome in outcomes:
        assert outcome["passed_clean"] == {"attacker": 1, "defender": STEPS}
        told = midstream("inspect", outcome["run"]).out
        assert "the attacker failed on 1 of 6 batches, which passed unchanged" in told
        assert "the defender failed on 6 of 6 batches" in told
        assert "passed_clean" not in told.partition("parameters:")[0]
    logged = (Path(outcomes[0]["run"]) / "proxy.log").read_text()
    assert "'weight'" in logged
    assert "the batch goes on unchanged" in logged


def test_a_player_that_never_fails_plays_the_same_game(
    midstream: Callable[..., Ended], tmp_path: Path
) -> None:
    words = ["--attacker", GOOD, "--defender", "level-1", "--transport", "local", "--out", str(tmp_path)]
    either = [played(midstream, *words, "--on-error", choice) for choice in ("stop", "pass-clean")]
    assert either[0]["parameters_sha256"] == either[1]["parameters_sha256"]
    assert either[1]["passed_clean"] == {"attacker": 0, "defender": 0}


def test_the_proxy_counts_what_it_could_not_attack(registry: Registry, tmp_path: Path) -> None:
    with served(make_server(registry)) as upstream:
        proxy = Proxy(upstream, AttackSettings(BREAKS, on_error="pass-clean"), out=tmp_path / "attacks")
        with served(make_app(proxy), transparent=True) as url, client_at(url) as client:
            TinyRun(client).play(0)
            (run,) = proxy.activity.status().runs
            assert run.facts["of_them_failed_at_and_passed_clean"] == 1
            assert run.problem is None


def test_an_attack_that_was_begun_to_stop_does_not_begin_to_pass(registry: Registry, tmp_path: Path) -> None:
    settings = AttackSettings(BREAKS)
    with served(make_server(registry)) as upstream:
        first = make_app(Proxy(upstream, settings, out=tmp_path))
        with served(first, transparent=True) as url, client_at(url) as client:
            TinyRun(client).play(0, 1)
        other = replace(settings, on_error="pass-clean")
        second = make_app(Proxy(upstream, other, out=tmp_path))
        with served(second, transparent=True) as url, client_at(url) as client:
            refused = problem(TinyRun.found(client).put(1), 409)
            assert "on_error stop, here pass-clean" in refused["detail"]


def test_a_surrogate_is_not_trained_on_what_its_attacker_failed_at(
    midstream: Callable[..., Ended], tmp_path: Path
) -> None:
    game = ["play", "--train-size", "25", "--batch-size", "10", "--epochs", "2", "--threads", "1"]
    hidden = ["--access", "black-box", "--attacker", BREAKS, "--on-error", "pass-clean"]
    where = ["--transport", "local", "--out", str(tmp_path), "--cache", str(tmp_path / "cache")]
    ended = midstream(*game, *hidden, *where)
    assert ended.code == 1
    assert "the surrogate's training failed" in ended.err
    assert "'weight'" in ended.err


def client_at(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60)
