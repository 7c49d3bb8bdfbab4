"""An attacker's memory belongs to one run and one step of it: without it no proxy goes on in silence."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from midstream.players.remembering import remembers
from midstream.plugins import make
from midstream.protocol.messages.runs import Status
from midstream_provider.ending import result_table
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from services import tiny
from services.attacked import EVOSHIFT, LEVEL_1, client_at, on_a_server, other_body, undisturbed
from services.conftest import Ended
from services.loopback import served
from services.tiny import STEPS, TinyRun, problem

pytestmark = pytest.mark.slow

FILE = "attack-tiny.sqlite"


@pytest.mark.parametrize("attack", [EVOSHIFT, LEVEL_1])
def test_a_run_whose_attackers_memory_is_gone_is_not_attacked(attack: AttackSettings, tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found:
        with found.attacked(attack) as run:
            run.play(0, 3)
        shutil.rmtree(found.memory)
        with found.attacked(attack) as run:
            refused = problem(run.put(3), 409)
            assert f"the run is at batch 3, but {found.memory / FILE} holds no memory" in refused["detail"]
            assert "--resume-anyway" in refused["detail"]
            assert "next_seq" not in refused
            assert run.status()["step"] == 3


def test_going_on_without_it_is_told_wherever_the_run_is_shown(
    midstream: Callable[..., Ended], tmp_path: Path
) -> None:
    with on_a_server(tmp_path) as found:
        with found.attacked(EVOSHIFT) as run:
            run.play(0, 3)
        shutil.rmtree(found.memory)
        proxy = Proxy(found.upstream, EVOSHIFT, out=found.memory, resume_anyway=True)
        with served(make_app(proxy), transparent=True) as url, client_at(url) as client:
            run = TinyRun.found(client)
            run.post("/pause")
            for body in (None, other_body(3)):  # neither counts
                problem(run.put(3, body), 503)
            run.post("/resume")
            run.play(3)
            status = run.until("finished")
            (shown,) = proxy.activity.status().runs
        assert shown.facts["times_resumed_although_its_memory_did_not_fit"] == 1
        assert status["resumed_anyway"] == status["result"]["resumed_anyway"] == {"attacker": 1}
        assert "attacker resumed without its memory" in result_table(Status.model_validate(status))
        counted = 'midstream_resumed_anyway{run="tiny",side="attacker"} 1.0'
        with found.direct() as run:
            assert counted in run.client.get("/metrics").text
    folder = str(tmp_path / "runs/tiny")
    told = midstream("inspect", folder).out
    assert "the attacker was resumed 1× with a memory that did not match the run" in told
    shutil.copytree(folder, tmp_path / "runs/other")
    assert "attacker resumed anyway" in midstream("compare", folder, str(tmp_path / "runs/other")).out


def test_going_on_with_another_attack_is_told_too(tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found:
        with found.attacked(LEVEL_1) as run:
            run.play(0, 2)
        other = replace(LEVEL_1, attacker="level-1,beta=0.5")
        with found.attacked(other, resume_anyway=True) as run:
            run.play(2, 4)
        with found.attacked(other, resume_anyway=True) as run:  # which is how it is begun now
            run.play(4)
            assert run.until("finished")["result"]["resumed_anyway"] == {"attacker": 1}


@pytest.mark.parametrize("steps", [3, 4])
def test_a_memory_of_an_earlier_step_is_not_gone_on_with(steps: int, tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found:
        with found.attacked(EVOSHIFT) as run:
            run.play(0, 2)
            earlier = found.crashed("earlier")
            run.play(2, steps)
        with found.attacked(EVOSHIFT, memory=earlier) as run:
            detail = problem(run.put(steps), 409)["detail"]
            assert str(earlier / FILE) in detail
            assert "belongs to an attacker before batch 1" in detail
        with found.attacked(EVOSHIFT, memory=earlier, resume_anyway=True) as run:
            run.play(steps)
            assert run.until("finished")["result"]["resumed_anyway"] == {"attacker": 1}


@pytest.mark.parametrize("attack", [EVOSHIFT, LEVEL_1])
@pytest.mark.parametrize("again", [True, False])
def test_a_proxy_that_died_behind_a_step_finds_out_that_it_was_taken(
    attack: AttackSettings, again: bool, tmp_path: Path
) -> None:
    with on_a_server(tmp_path) as found:
        with found.attacked(attack) as run:
            for seq in range(3):
                run.play(seq, seq + 1)
            left = found.crashed("left")  # with batch 2 stored, and not that it was taken
        with found.attacked(attack, memory=left) as run:
            if again:
                assert run.put(2).json()["replay"] is True
            run.play(3)
            assert run.sha256() == undisturbed(tmp_path, attack)
            assert run.until("finished")["result"]["resumed_anyway"] == {"attacker": 0}


def test_where_the_server_knows_no_more_the_only_answer_counts(tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found, found.attacked(EVOSHIFT) as run:
        run.play(0, 3)
        left = found.crashed("left")
        run.post("/checkpoint")
        lost = Path(shutil.copytree(tmp_path / "runs", tmp_path / "lost"))
    for file in lost.glob("tiny/journal.sqlite*"):
        file.unlink()
    with on_a_server(tmp_path, resumed=lost) as again, again.attacked(EVOSHIFT, memory=left) as run:
        run.until_recorded(3)
        assert problem(run.put(2), 409)["answer_lost"] is True
        run.play(3)
        assert run.sha256() == undisturbed(tmp_path, EVOSHIFT)


def test_a_batch_that_passed_the_attacker_by_is_noticed(tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found, found.attacked(EVOSHIFT) as run:
        run.play(0, 2)
        run.post("/pause")
        problem(run.put(2), 503)  # stored, and not taken
        run.post("/resume")
        with found.direct() as passed_by:
            passed_by.play(2, 3)
        assert "before batch 2" in problem(run.put(3), 409)["detail"]


def test_a_server_that_lost_steps_has_the_kept_answers(tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found, found.attacked(EVOSHIFT) as run:
        run.play(0, 2)
        run.until_recorded(2)
        lost = Path(shutil.copytree(tmp_path / "runs", tmp_path / "lost"))
        run.play(2, 5)
        assert run.status()["step"] == 5
    with on_a_server(tmp_path, resumed=lost) as again, again.attacked(EVOSHIFT) as run:
        run.until_recorded(2)
        assert run.status()["step"] == 2
        detail = problem(run.put(2, other_body(2)), 409)["detail"]
        assert "belongs to an attacker before batch 5" in detail
        run.play(2)
        assert run.sha256() == undisturbed(tmp_path, EVOSHIFT)
    sent = [batch for batch in found.recorder.batches if batch in again.recorder.batches]
    assert sent == found.recorder.batches[2:]


@pytest.mark.parametrize("name", ["fgsm", "level-1,beta=0", "level-2,beta=0,steps=2", "fgsm,fraction=0.5"])
def test_an_attacker_that_remembers_nothing_needs_no_memory(name: str, tmp_path: Path) -> None:
    attack = AttackSettings(name)
    assert not remembers(make("attackers", name))
    with on_a_server(tmp_path) as found:
        with found.attacked(attack) as run:
            run.play(0, 3)
        (found.memory / FILE).write_bytes(b"damaged" * 3000)
        with found.attacked(attack) as run:
            run.play(3, 4)
        shutil.rmtree(found.memory)
        with found.attacked(attack) as run:
            run.play(4)
            assert run.sha256() == undisturbed(tmp_path, attack)
            assert run.until("finished")["result"]["resumed_anyway"] == {"attacker": 0}


@pytest.mark.parametrize("name", ["level-1", "level-2,beta=0", "evoshift", "level-1,beta=0.5,fraction=0.5"])
def test_an_attacker_that_remembers_says_so(name: str) -> None:
    assert remembers(make("attackers", name))


def test_a_memory_of_another_run_is_no_memory_of_one_in_progress(tmp_path: Path) -> None:
    for folder, steps in (("one", 2), ("other", 0)):
        with on_a_server(tmp_path / folder) as found, found.attacked(EVOSHIFT, memory=tmp_path / "m") as run:
            if steps:
                run.play(0, steps)
            else:
                with found.direct() as passed_by:
                    passed_by.play(0, 1)
                detail = problem(run.put(1), 409)["detail"]
                assert f"{tmp_path / 'm' / FILE} holds the memory of another run of that name" in detail


def test_a_proxy_outlives_a_run_and_begins_with_the_next_of_its_name(tmp_path: Path, port: int) -> None:
    proxy = Proxy(f"http://127.0.0.1:{port}", EVOSHIFT, out=tmp_path / "attacks")
    with served(make_app(proxy), transparent=True) as url:
        for folder, steps in (("first", 3), ("second", STEPS)):
            registry = tiny.registry(tmp_path / folder)
            with served(make_server(registry), port=port), client_at(url) as client:
                run = TinyRun(client)
                run.play(0, steps)
                ended = run.sha256()
    assert ended == undisturbed(tmp_path, EVOSHIFT)
