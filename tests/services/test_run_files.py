"""Each file of a run is held against the others: as it was, or written again, or refused by its name."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.loopback import client_of
from services.tiny import STEPS, TinyRun, problem

pytestmark = pytest.mark.slow

AT = {"no checkpoint": 0, "a checkpoint": 1, "two checkpoints": 2}


def crashed(folder: Path, checkpoints: int = 2, state: str = "") -> Path:
    """Return what a server left behind that died after four steps, and so many checkpoints."""
    with client_of(make_app(tiny.registry(folder / "runs"))) as client:
        run = TinyRun(client)
        for seq in range(4):
            run.play(seq, seq + 1)
            if seq in (1, 2)[2 - checkpoints :]:
                run.post("/checkpoint")
        run.until_recorded(4)
        if state:
            run.post(f"/{state}")
        return Path(shutil.copytree(folder / "runs", folder / "crashed"))


@pytest.fixture(scope="module")
def lefts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {count: crashed(tmp_path_factory.mktemp(f"left-{count}"), count) for count in AT.values()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Return fingerprint and history of the game that nobody disturbed."""
    with client_of(make_app(tiny.registry(tmp_path_factory.mktemp("undisturbed")))) as client:
        run = TinyRun(client)
        run.play(0)
        run.until("finished")
        return outcome(run)


def outcome(run: TinyRun) -> tuple[str, list[dict[str, Any]]]:
    return run.sha256(), [{**record, "seconds": None} for record in run.until_recorded(STEPS)]


class Again:
    """A server that takes up what is in a folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.said: list[str] = []
        self.registry = tiny.registry(folder, **settings)
        self.registry.say = self.said.append
        self.registry.take_up(left_behind(folder))

    @property
    def refused(self) -> str:
        """Why the run was set aside; empty where it goes on."""
        return "".join(aside.reason for aside in self.registry.set_aside.values())

    @contextmanager
    def run(self) -> Iterator[TinyRun]:
        assert not self.refused
        with client_of(make_app(self.registry)) as client:
            yield TinyRun.found(client)

    def outcome(self) -> tuple[str, list[dict[str, Any]]]:
        """Return how the run ends."""
        with self.run() as run:
            while (step := run.status()["step"]) < STEPS or run.status()["state"] != "finished":
                run.put(step) if step < STEPS else time.sleep(0.01)
            return outcome(run)


@pytest.fixture
def left(lefts: dict[int, Path], tmp_path: Path) -> Callable[[int], Path]:
    return lambda count: Path(shutil.copytree(lefts[count], tmp_path / "left"))


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def a_digit(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    text = path.read_text()
    place = text.index('"loss": ') + 8
    path.write_text(f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}")


EDITS = {
    "a learning rate": (edit("specification.json", learning_rate=0.5), "specification.json", "0.5"),
    "ε": (edit("specification.json", epsilon=2.5), "specification.json", "epsilon is 2.5, started with 1.5"),
    "an unknown setting": (edit("specification.json", patience=3), "specification.json", "patience is 3"),
    "the identity": (edit("environment.json", run="0" * 32), "environment.json", "0" * 32),
    "the threads": (edit("environment.json", threads=99), "environment.json", "threads is 99"),
    "what was let pass": (edit("environment.json", resumed_with=[["x"]]), "environment.json", "resumed_with"),
}


@pytest.mark.parametrize(
    ("checkpoints", "anyway"), [*((checkpoints, False) for checkpoints in AT), ("two checkpoints", True)]
)
@pytest.mark.parametrize("what", EDITS)
def test_what_the_run_was_begun_with_cannot_be_edited(
    left: Callable[[int], Path], what: str, checkpoints: str, anyway: bool
) -> None:
    change, name, words = EDITS[what]
    folder = left(AT[checkpoints])
    change(folder / "tiny")
    before = {path.name: path.read_bytes() for path in folder.glob("tiny/checkpoint*")}
    refused = Again(folder, resume_anyway=anyway).refused
    assert name in refused
    assert words in refused
    assert "Restore the file" in refused
    assert {path.name: path.read_bytes() for path in folder.glob("tiny/checkpoint*")} == before


def test_deleted_as_the_sentence_says_it_goes_on(left: Callable[[int], Path], undisturbed: Any) -> None:
    folder = left(1)
    edit("specification.json", learning_rate=0.5)(folder / "tiny")
    assert "or delete it" in Again(folder).refused
    (folder / "tiny/specification.json").unlink()
    assert Again(folder).outcome() == undisturbed
    assert json.loads((folder / "tiny/specification.json").read_text())["learning_rate"] == 0.0008


def test_a_digit_of_the_history_is_refused(left: Callable[[int], Path]) -> None:
    folder = left(2)
    a_digit(folder / "tiny")
    refused = Again(folder).refused
    assert "metrics.jsonl has changed since checkpoint.safetensors was written at step 3" in refused
    assert "its journal begins at step 2" in refused


@pytest.mark.parametrize("checkpoints", ["no checkpoint", "a checkpoint"])
def test_a_digit_that_the_journal_reaches_behind_is_written_again(
    left: Callable[[int], Path], undisturbed: Any, checkpoints: str
) -> None:
    folder = left(AT[checkpoints])
    a_digit(folder / "tiny")
    assert Again(folder).outcome() == undisturbed


def flip(path: Path, place: float) -> None:
    body = bytearray(path.read_bytes())
    body[int(place * len(body))] ^= 0x55
    path.write_bytes(body)


DAMAGES: dict[str, Callable[[Path, float], None]] = {
    "flipped": flip,
    "truncated": lambda path, place: os.truncate(path, int(place * path.stat().st_size)),
    "deleted": lambda path, _: path.unlink(),
}
FILES = [
    *("open", "specification.json", "environment.json", "metrics.jsonl", "checkpoint.safetensors"),
    *("checkpoint.previous.safetensors", "journal.sqlite", "journal.sqlite-wal"),
]


@pytest.mark.parametrize(
    ("damage", "place"),
    [("flipped", 0.37), ("flipped", 0.9), ("truncated", 0.37), ("truncated", 0.9), ("deleted", 0.0)],
)
@pytest.mark.parametrize("name", FILES)
def test_any_file_may_be_damaged_in_any_way(
    left: Callable[[int], Path], undisturbed: Any, name: str, damage: str, place: float
) -> None:
    folder = left(2)
    DAMAGES[damage](folder / "tiny" / name, place)
    again = Again(folder)
    if again.refused:
        assert name in again.refused
        assert name not in ("open", "checkpoint.safetensors", "journal.sqlite", "journal.sqlite-wal")
    else:
        assert again.outcome() == undisturbed
        assert name != "metrics.jsonl" or place > 0.5


def of_row(*columns: str) -> Callable[[sqlite3.Connection], None]:
    """Exchange columns of the rows of batches 2 and 3."""

    def apply(database: sqlite3.Connection) -> None:
        for name in columns:
            two, three = (
                database.execute(f"SELECT {name} FROM batches WHERE seq = ?", (seq,)).fetchone()[0]
                for seq in (2, 3)
            )
            for seq, value in ((2, three), (3, two)):
                database.execute(f"UPDATE batches SET {name} = ? WHERE seq = ?", (value, seq))

    return apply


def statement(text: str) -> Callable[[sqlite3.Connection], None]:
    def apply(database: sqlite3.Connection) -> None:
        database.execute(text)

    return apply


ROWS = {
    "the numbers": of_row("content", "checksum", "body", "loss", "answer_checksum"),
    "the bodies": of_row("checksum", "body"),
    "the digests": of_row("content"),
    "a digest": statement("UPDATE batches SET content = x'00' WHERE seq = 3"),
    "a type": statement("UPDATE batches SET content = 'text', body = 7 WHERE seq = 3"),
    "a row in between": statement("DELETE FROM batches WHERE seq = 3"),
}


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(folder / "tiny/journal.sqlite")
    try:
        with opened:
            yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("what", ROWS)
def test_a_batch_is_what_was_stored_under_its_number(
    left: Callable[[int], Path], undisturbed: Any, what: str
) -> None:
    folder = left(1)  # at step 3
    with database(folder) as opened:
        ROWS[what](opened)
    assert Again(folder).outcome() == undisturbed


def test_a_batch_of_another_run_is_asked_for_again(
    left: Callable[[int], Path], undisturbed: Any, tmp_path: Path
) -> None:
    folder, other = left(0), tmp_path / "other"
    with client_of(make_app(tiny.registry(other))) as client:
        run = TinyRun(client)
        for seq in range(4):
            assert run.put(seq, tiny.body_of(seq, brighter=True)).status_code == 200
        run.until_recorded(4)
        shutil.copytree(other, tmp_path / "copied")
    with database(folder) as opened:
        opened.execute("ATTACH ? AS other", (str(tmp_path / "copied/tiny/journal.sqlite"),))
        opened.execute("REPLACE INTO main.batches SELECT * FROM other.batches WHERE seq = 2")
    again = Again(folder)
    assert again.outcome() == undisturbed
    assert any("damaged from batch 2 on" in text for text in again.said)


def test_a_journal_or_a_checkpoint_of_another_run_is_not_used(
    left: Callable[[int], Path], undisturbed: Any, tmp_path: Path
) -> None:
    other = crashed(tmp_path)
    for name in ("journal.sqlite", "journal.sqlite-wal", "checkpoint.safetensors"):
        folder = left(2)
        shutil.copy(other / "tiny" / name, folder / "tiny" / name)
        again = Again(folder)
        assert again.refused or again.outcome() == undisturbed
        assert any("journal" in text or name in text for text in again.said), again.said
        shutil.rmtree(folder)


def test_an_altered_answer_is_not_repeated(left: Callable[[int], Path]) -> None:
    folder = left(0)
    with database(folder) as opened:
        opened.execute("UPDATE batches SET loss = loss + 1 WHERE seq = 1")
    with Again(folder).run() as run:
        run.until_recorded(4)
        assert run.put(0).json()["replay"] is True
        answer = run.put(1)
        assert answer.status_code == 409 or answer.json()["loss"] == run.until_recorded(4)[1]["loss"]


@pytest.mark.parametrize("gone", ["open", "journal.sqlite"])
def test_a_pause_holds_whatever_is_lost(tmp_path: Path, gone: str) -> None:
    folder = crashed(tmp_path, state="pause")
    (folder / "tiny" / gone).unlink()
    with Again(folder).run() as run:
        assert run.until("paused")


def test_an_altered_pause_counts_as_damage(tmp_path: Path) -> None:
    folder = crashed(tmp_path, state="pause")
    with database(folder) as opened:
        opened.execute("""UPDATE state SET value = replace(value, '"paused"', 'null')""")
    again = Again(folder)
    assert any("journal.sqlite does not identify its run" in text for text in again.said)
    with again.run() as run:
        assert run.until("paused")


def test_a_folder_by_another_name_is_refused(left: Callable[[int], Path]) -> None:
    folder = left(1)
    (folder / "tiny").rename(folder / "other")
    assert "holds run 'tiny'" in Again(folder).refused


def test_a_folder_that_holds_files_of_a_run_is_not_begun_anew(tmp_path: Path) -> None:
    with client_of(make_app(tiny.registry(tmp_path))) as client:
        TinyRun(client).play(0, 2)
    for name in ("open", "specification.json", "checkpoint.safetensors"):
        (tmp_path / "tiny" / name).unlink()
    with client_of(make_app(tiny.registry(tmp_path))) as client:
        found = problem(client.post("/v1/runs", json=tiny.SPECIFICATION), 409)
        assert "already holds a run (metrics.jsonl)" in found["detail"]


def test_a_clock_that_is_set_back_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    folder = crashed(tmp_path)
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    again = Again(folder)
    with again.run() as run:
        run.play(4)
        assert 0 < run.until("finished")["result"]["seconds"] < 600
        monkeypatch.undo()


def test_a_run_that_nobody_had_begun_is_not_taken_up(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "runs/tiny"
    folder.mkdir(parents=True)
    sqlite3.connect(folder / "journal.sqlite").close()  # its server died before there was a run
    assert left_behind(tmp_path / "runs") == []
    with client_of(make_app(registry)) as client:
        TinyRun(client).play(0)
