"""A server that takes up what another left behind, however that ended.

A copy of a run folder is what a crash at that moment leaves: the server it is copied from goes on untouched.
"""

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from benchmarks.chaos.damage import DAMAGES

from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.loopback import client_of
from services.tiny import STEPS, TinyRun, problem

pytestmark = pytest.mark.slow

MEMORY = '''
import torch

class Counting:
    """Moves every input by how often it was asked."""

    def __init__(self):
        self.count = torch.zeros(())

    def perturb(self, batch, view):
        self.count = self.count + 1
        return torch.full_like(batch.inputs, self.count / 50)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]
'''


@contextmanager
def taken_up(folder: Path, **settings: Any) -> Iterator[TinyRun]:
    """Give the run that another server left in a folder."""
    registry = tiny.registry(folder, **settings)
    registry.take_up(left_behind(folder))
    with client_of(make_app(registry)) as client:
        yield TinyRun.found(client)


def crashed(run: TinyRun, tmp_path: Path) -> Path:
    """Return what a crash would leave now."""
    run.until_recorded(run.status()["step"])
    return Path(shutil.copytree(tmp_path / "runs", tmp_path / "crashed"))


def set_aside(folder: Path) -> str:
    """Return why a server does not take up the run in a folder."""
    registry = tiny.registry(folder)
    registry.take_up(["tiny"])
    assert not registry.runs
    return registry.set_aside["tiny"].reason


def undisturbed(run: TinyRun) -> tuple[str, list[dict[str, Any]]]:
    """Return fingerprint and history of a run that has ended."""
    run.until("finished")
    return run.sha256(), [{**record, "seconds": None} for record in run.until_recorded(STEPS)]


@pytest.mark.parametrize("every", [1, 2, 100])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_run_goes_on_to_the_same_bits(run: TinyRun, tmp_path: Path, steps: int, every: int) -> None:
    run.play(0, steps)
    left = crashed(run, tmp_path)
    run.play(steps)
    with taken_up(left, checkpoint_every=every) as again:
        again.until_recorded(steps)
        again.play(steps)
        assert undisturbed(again) == undisturbed(run)


def test_old_batches_have_their_stored_answers(run: TinyRun, tmp_path: Path) -> None:
    answers = [run.put(seq).json() for seq in range(3)]
    with taken_up(crashed(run, tmp_path)) as again:
        again.until_recorded(3)
        for seq, answer in enumerate(answers):
            expected = answer | {"replay": True, "next_seq": 3}
            assert again.put(seq).json() == expected
        assert problem(again.put(3, tiny.body(4)), 422)
        assert again.status()["id"] == run.status()["id"]


def test_a_defender_keeps_its_memory(server: httpx.Client, registry: Registry, tmp_path: Path) -> None:
    plugin = tmp_path / "counting.py"
    plugin.write_text(MEMORY)
    name = f"{plugin}:Counting"
    object.__setattr__(registry.settings, "allowed", frozenset({name}))
    run = TinyRun(server, defender=name)
    run.play(0, 3)
    run.post("/checkpoint")
    left = crashed(run, tmp_path)
    run.play(3)
    with taken_up(left, allowed=frozenset({name})) as again:
        again.play(3)
        assert undisturbed(again) == undisturbed(run)


@pytest.mark.parametrize("steps", [2, 3])  # before and after an epoch's last batch
def test_what_a_defender_augments_and_rehearses_is_replayed(
    server: httpx.Client, tmp_path: Path, steps: int
) -> None:
    run = TinyRun(
        server, defender="level-1+cutmix,on=both+train-on-validation", model="digits-cnn,dropout=0.3"
    )
    run.play(0, 1)
    run.post("/checkpoint")
    run.play(1, steps)
    left = crashed(run, tmp_path)
    run.play(steps)
    with taken_up(left) as again:
        again.until_recorded(steps)
        again.play(steps)
        assert undisturbed(again) == undisturbed(run)


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_what_the_operator_decided_holds(run: TinyRun, tmp_path: Path, state: str) -> None:
    run.play(0, 2)
    run.post("/pause" if state == "paused" else "/stop")
    before = run.status()
    with taken_up(crashed(run, tmp_path)) as again:
        again.until_recorded(2)
        after = again.status()
        assert (after["state"], after["reason"], after["step"]) == (state, before["reason"], 2)
        assert again.put(2).status_code == (503 if state == "paused" else 409)


def test_a_run_that_was_over_is_still_there_for_a_provider_that_missed_it(
    run: TinyRun, tmp_path: Path
) -> None:
    run.play(0)
    run.until("finished")
    left = crashed(run, tmp_path)
    (left / "tiny/result.json").unlink()  # it is written last
    with taken_up(left) as again:
        assert again.until("finished")["result"]["parameters_sha256"] == run.sha256()
        assert again.put(STEPS - 1).json()["replay"] is True
    assert left_behind(left) == []
    assert not list(left.glob("tiny/journal*"))


def test_a_server_that_stopped_in_order_leaves_nothing_to_replay(tmp_path: Path) -> None:
    with client_of(make_app(tiny.registry(tmp_path / "runs"))) as client:
        run = TinyRun(client)
        run.play(0, 4)
    said: list[str] = []
    registry = tiny.registry(tmp_path / "runs")
    registry.say = said.append
    registry.take_up(["tiny"])
    with client_of(make_app(registry)) as client:
        again = TinyRun.found(client)
        assert again.status()["step"] == 4
        again.play(4)
        again.until("finished")
    assert not [text for text in said if "journal" in text]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_what_was_before_it_is_used(run: TinyRun, tmp_path: Path, damage: str) -> None:
    run.play(0, 1)
    run.post("/checkpoint")
    run.play(1, 3)
    run.post("/checkpoint")
    run.play(3, 5)
    left = crashed(run, tmp_path)
    run.play(5)
    assert DAMAGES[damage](left / "tiny")
    said: list[str] = []
    registry = tiny.registry(left)
    registry.say = said.append
    registry.take_up(["tiny"])
    with client_of(make_app(registry)) as client:
        again = TinyRun.found(client)
        again.until_recorded(3 if "journal" in damage else 5)
        again.play(again.status()["step"])
        assert undisturbed(again) == undisturbed(run)
    words = "checkpoint.safetensors" if "checkpoint" in damage else "journal"
    assert any(words in text for text in said) or "tail" in damage  # a tail cut off is as if it never came


def test_without_a_whole_checkpoint_a_trimmed_journal_is_refused(run: TinyRun, tmp_path: Path) -> None:
    for seq in range(3):
        run.play(seq, seq + 1)
        run.post("/checkpoint")
    left = crashed(run, tmp_path)
    for path in left.glob("tiny/checkpoint*"):
        path.write_bytes(b"nothing")
    assert "no intact checkpoint" in set_aside(left)


@pytest.fixture
def other_threads() -> Iterator[int]:
    """Compute with another number of threads than the test began with, once it asks for that number."""
    before = torch.get_num_threads()
    yield before + 1
    torch.set_num_threads(before)


def test_other_threads_are_refused_by_name(run: TinyRun, tmp_path: Path, other_threads: int) -> None:
    run.play(0, 1)
    left = crashed(run, tmp_path)
    torch.set_num_threads(other_threads)
    found = f"threads {other_threads - 1}, here {other_threads}"
    assert re.search(f"{found}.*--resume-anyway", set_aside(left))
    for _ in range(2):
        with taken_up(left, resume_anyway=True) as again:
            again.until_recorded(1)
    recorded = json.loads((left / "tiny/environment.json").read_text())
    assert recorded["resumed_with"] == [[found]]
    torch.set_num_threads(other_threads - 1)
    with taken_up(left) as again:  # as it was begun
        again.play(again.status()["step"])


def test_two_servers_cannot_have_one_run(run: TinyRun, tmp_path: Path) -> None:
    run.play(0, 1)
    assert "in use by another process" in set_aside(tmp_path / "runs")


def test_the_journal_is_bounded(tmp_path: Path) -> None:
    registry = tiny.registry(tmp_path / "runs", checkpoint_every=1)
    with client_of(make_app(registry)) as client:
        run = TinyRun(client, epochs=20)
        run.play(0, 40)
        run.until_recorded(40)
        database = sqlite3.connect(crashed(run, tmp_path) / "tiny/journal.sqlite")
        bodies = database.execute("SELECT seq FROM batches WHERE body IS NOT NULL").fetchall()
        database.close()
    assert [seq for (seq,) in bodies] == [39]  # the older checkpoint was written before it
