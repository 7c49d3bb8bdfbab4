"""A run that cannot go on is named, with the reason, and keeps nobody from anything else."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.commands import Command
from services.conftest import Ended
from services.loopback import client_of
from services.tiny import SPECIFICATION, STEPS, TinyRun, problem

Midstream = Callable[..., Ended]

WORDS = [
    *("--dataset", "digits", "--train-size", "25", "--validation-size", "40", "--batch-size", "10"),
    *("--epochs", "2", "--threads", "1"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the run folders of a server that had two runs, and died; the file of one was altered."""
    out = tmp_path / "runs"
    with client_of(make_app(tiny.registry(out))) as client:
        for name in ("tiny", "other"):
            TinyRun(client, name=name).play(0, 2)
    spoil(out / "tiny/specification.json")
    return out


def spoil(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"learning_rate": 0.5}))


@contextmanager
def served(folder: Path) -> Iterator[httpx.Client]:
    registry = tiny.registry(folder)
    registry.take_up(["other", "tiny"])
    with client_of(make_app(registry)) as client:
        yield client


def test_the_others_go_on_and_it_is_named(folder: Path) -> None:
    with served(folder) as client:
        listed = {run["name"]: run for run in client.get("/v1/runs").json()["runs"]}
        assert listed["tiny"] == client.get("/v1/runs/tiny").json()
        assert listed["tiny"]["state"] == "failed"
        assert "specification.json was altered" in listed["tiny"]["reason"]
        assert listed["tiny"]["specification"]["learning_rate"] == 0.0008
        other = TinyRun.found(client, "other")
        other.play(2)
        assert other.until("finished")["step"] == STEPS


def test_whoever_asks_for_it_is_told_why(folder: Path) -> None:
    with served(folder) as client:
        tiny_run = TinyRun.found(client)
        refusals = [
            tiny_run.put(2),
            tiny_run.post("/pause"),
            tiny_run.get("/metrics"),
            tiny_run.get("/model"),
        ]
        refusals.append(client.post("/v1/runs", json=SPECIFICATION))
        for response in refusals:
            assert "specification.json was altered" in problem(response, 409)["detail"]


def test_one_of_which_nothing_is_known_is_told_too(folder: Path, midstream: Midstream) -> None:
    for path in folder.glob("tiny/*"):
        if path.is_file():
            path.write_bytes(b"{")
    with served(folder) as client:
        assert [run["name"] for run in client.get("/v1/runs").json()["runs"]] == ["other"]
        assert "tiny/open is damaged" in problem(client.get("/v1/runs/tiny"), 409)["detail"]
        ended = midstream("provide", "--server", str(client.base_url), "--run", "tiny")
        assert (ended.code, "is set aside" in ended.err.splitlines()[-1]) == (1, True), ended.err


def test_its_provider_ends_with_the_reason(folder: Path, midstream: Midstream) -> None:
    with served(folder) as client:
        ended = midstream("provide", "--server", str(client.base_url), "--run", "tiny")
        assert ended.code == 1
        assert "specification.json was altered" in ended.err.splitlines()[-1]
        assert midstream("provide", "--server", str(client.base_url)).code == 0, "the other is the only one"


@pytest.mark.process
def test_a_server_goes_on_without_it(folder: Path) -> None:
    with Command(folder.parent, "serve", "--port", "0", "--threads", "1") as server:
        server.until_it_says("listening on")
        assert "server: run 'tiny' is set aside: runs/tiny/specification.json was altered" in server.err
        assert "run 'other' waits for batch 2" in server.err
        assert server.interrupt() == 0


@pytest.mark.parametrize("words", [["--resume", "tiny"], [*WORDS, "--run", "tiny"]])
def test_a_server_that_was_asked_for_it_ends_with_the_reason(
    folder: Path, midstream: Midstream, words: list[str]
) -> None:
    ended = midstream("serve", "--port", "0", "--out", str(folder), *words)
    assert ended.code == 1
    assert "specification.json was altered" in ended.err.splitlines()[-1]


def test_a_server_without_a_name_begins_no_second_one_like_it(tmp_path: Path, midstream: Midstream) -> None:
    with client_of(make_app(tiny.registry(tmp_path))) as client:
        TinyRun(client).play(0, 1)
    spoil(tmp_path / "tiny/specification.json")
    ended = midstream("serve", "--port", "0", "--out", str(tmp_path), *WORDS)
    assert ended.code == 1
    assert "specification.json was altered" in ended.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
