"""A run folder on a disk that fills up, or cannot be written to, in a file system made for it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.loopback import client_of
from services.tiny import TinyRun, problem
from services.waiting import until

pytestmark = pytest.mark.process

_SIZE = 3 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder that is a small disk of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("whoever runs this may not mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk has no end")


def test_a_run_waits_for_room_and_goes_on(disk: Path, tmp_path: Path) -> None:
    said: list[str] = []
    registry = tiny.registry(disk / "runs", checkpoint_every=2)
    registry.say = said.append
    with client_of(make_app(registry)) as client, client_of(make_app(tiny.registry(tmp_path))) as elsewhere:
        run = TinyRun(client)
        run.play(0, 2)
        run.until_recorded(2)
        filler = fill(disk)
        for seq in range(2, 6):
            response = run.put(seq)
            if response.status_code != 200:
                break
        found = problem(response, 503)
        assert "was not trained on" in found["detail"]
        assert run.status()["step"] == seq
        assert "room to store what it has: batch 2" in run.status()["waiting_for"]
        assert len([text for text in said if "waits for room to store what it has: batch 2" in text]) == 1
        assert problem(run.put(seq), 503)
        filler.unlink()
        until(lambda: run.put(seq).status_code == 200, "the batch to be taken")
        until(lambda: "run 'tiny': has room to store what it has again" in said, "the end to be said")
        run.play(seq + 1)
        undisturbed = TinyRun(elsewhere)
        undisturbed.play(0)
        run.until("finished")
        assert run.sha256() == undisturbed.sha256()
        assert [record["step"] for record in run.until_recorded(6)] == [1, 2, 3, 4, 5, 6]


def test_what_follows_a_step_waits_for_room_too(disk: Path) -> None:
    said: list[str] = []
    registry = tiny.registry(disk / "runs", checkpoint_every=1)
    registry.say = said.append
    with client_of(make_app(registry)) as client:
        run = TinyRun(client)
        run.play(0, 1)
        run.until_recorded(1)
        filler = fill(disk)
        taken = run.put(1).status_code == 200
        if taken:
            until(lambda: any("waits for room" in text for text in said), "the operator to be told")
            assert "room to store" in run.status()["waiting_for"]
        filler.unlink()
        until(lambda: run.put(1).status_code == 200, "the batch to be taken")
        run.play(2)
        run.until("finished")


def test_a_run_that_cannot_be_begun_says_so(disk: Path) -> None:
    filler = fill(disk)
    with client_of(make_app(tiny.registry(disk / "runs"))) as client:
        found = problem(client.post("/v1/runs", json=tiny.SPECIFICATION), 503)
        assert (
            "space left" in found["detail"] or "could not be" in found["detail"] or "disk" in found["detail"]
        )
        filler.unlink()
        TinyRun(client).play(0)


def test_an_operator_whose_word_cannot_be_stored_is_told(disk: Path) -> None:
    with client_of(make_app(tiny.registry(disk / "runs"))) as client:
        run = TinyRun(client)
        run.play(0, 1)
        run.until_recorded(1)
        filler = fill(disk)
        assert problem(run.post("/pause"), 503)
        assert run.status()["state"] == "running"
        filler.unlink()
        assert run.post("/pause").json()["state"] == "paused"


def test_a_folder_that_cannot_be_written_to_is_a_sentence(disk: Path) -> None:
    with client_of(make_app(tiny.registry(disk / "runs"))) as client:
        TinyRun(client).play(0, 2)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    registry = tiny.registry(disk / "runs")
    registry.take_up(["tiny"])
    assert re.search(r"Read-only file system|readonly|cannot be", registry.set_aside["tiny"].reason)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    registry = tiny.registry(disk / "runs")
    registry.take_up(["tiny"])
    with client_of(make_app(registry)) as client:
        run = TinyRun.found(client)
        run.play(2)
        run.until("finished")
