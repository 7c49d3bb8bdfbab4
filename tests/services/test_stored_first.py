"""A batch is on disk before anything is changed by it, although its gradient may be computed meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from midstream.protocol.wire import tensors_sha256
from midstream.storage.sqlite import StorageError
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.recovery.journal import Entry
from services import tiny
from services.loopback import client_of
from services.tiny import TinyRun
from services.waiting import until

_AWHILE = 0.2  # seconds in which a step that did not wait would have been taken


@contextmanager
def hosted(out: Path, **settings: Any) -> Iterator[tuple[HostedRun, TinyRun]]:
    registry = tiny.registry(out)
    with client_of(make_app(registry)) as client:
        run = TinyRun(client, **settings)
        yield registry.runs[run.name], run


def test_the_step_waits_for_the_disk_but_its_gradient_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosted(tmp_path, defender="none") as (run, sent):
        training, journal = run.run, run.durable.journal
        computed, stepping, append = Event(), Event(), journal.append

        def slowly(entry: Entry) -> None:
            assert computed.wait(30)
            assert not stepping.wait(_AWHILE)
            append(entry)

        monkeypatch.setattr(journal, "append", slowly)
        training.model.register_forward_hook(lambda *_: computed.set())
        training.optimization.optimizer.register_step_pre_hook(lambda *_: stepping.set())
        assert sent.put(0).status_code == 200
        assert stepping.is_set()


def test_a_defender_moves_only_after_the_batch_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosted(tmp_path, defender="level-1") as (run, sent):
        defender, journal = run.run.defender, run.durable.journal
        moved, append, perturb = Event(), journal.append, defender.perturb

        def slowly(entry: Entry) -> None:
            assert not moved.wait(_AWHILE)
            append(entry)

        def moving(*what: Any) -> Any:
            moved.set()
            return perturb(*what)

        monkeypatch.setattr(journal, "append", slowly)
        monkeypatch.setattr(defender, "perturb", moving)
        assert sent.put(0).status_code == 200
        assert moved.is_set()


@pytest.mark.parametrize("defender", ["none", "level-1"])
def test_a_batch_that_cannot_be_stored_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defender: str
) -> None:
    with hosted(tmp_path / "undisturbed", defender=defender) as (run, sent):
        sent.play(0, 2)
        expected = tensors_sha256(run.run.state_dict())
    with hosted(tmp_path / "full", defender=defender) as (run, sent):
        journal, before = run.durable.journal, tensors_sha256(run.run.state_dict())

        def full(entry: Entry) -> None:
            raise StorageError(f"batch {entry.seq} could not be stored: no space")

        with monkeypatch.context() as patch:
            patch.setattr(journal, "append", full)
            assert "no space" in tiny.problem(sent.put(0), 503)["detail"]
        assert tensors_sha256(run.run.state_dict()) == before
        sent.play(0, 2)
        assert tensors_sha256(run.run.state_dict()) == expected


def test_the_log_is_folded_after_an_answer_once_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosted(tmp_path, defender="none") as (run, sent):
        path = run.durable.journal.path
        sent.play(0, 1)
        sent.until_recorded(1)
        assert tiny.body(0) not in path.read_bytes()
        monkeypatch.setattr("midstream_server.runs.recovery.journal._LOG_BYTES", 1)
        sent.play(1, 2)
        until(lambda: tiny.body(0) in path.read_bytes(), "the batches to be moved to the main file")
        assert run.durable.journal.length() == 2
