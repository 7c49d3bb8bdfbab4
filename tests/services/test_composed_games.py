"""Games whose attacker drops, repeats, adds and reorders examples: the same bits, also when resumed."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

import midstream
from midstream.protocol.wire import encode_batch
from midstream.storage import faults
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery import checkpointed
from midstream_server.runs.recovery.resuming import left_behind
from services import attacked, tiny
from services.games import in_one_process, over_http
from services.loopback import client_of
from services.tiny import STEPS, TinyRun, problem

ATTACKER = "level-1,beta=0.5,drop=0.4,repeat=0.3,add=0.2,reorder=true"
EXAMPLES = [11, 11, 6] * 2  # of 10, 10 and 5: 4 or 2 are dropped, 3 or 2 repeated, 2 or 1 added


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the outcome of the undisturbed game in one process."""
    return in_one_process(tmp_path_factory.mktemp("whole"), ATTACKER, "level-1")


def test_the_game_over_http_ends_in_the_bits_of_the_local_one(
    whole: dict[str, Any], registry: Registry, tmp_path: Path
) -> None:
    plain = in_one_process(tmp_path, "level-1,beta=0.5", "level-1")
    result = over_http(registry, ATTACKER, "level-1", batch_sizes="any")
    assert result["parameters_sha256"] == whole["parameters_sha256"] != plain["parameters_sha256"]
    records = (registry.settings.out / "tiny/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(record) for record in records]
    assert [record["examples"] for record in found] == EXAMPLES
    assert found[0]["attacker"].items() >= {"dropped": 4, "repeated": 3, "added": 2}.items()


def test_a_proxy_that_is_started_again_for_each_batch_sends_the_same(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    settings = AttackSettings(ATTACKER)
    with attacked.on_a_server(tmp_path, defender="level-1", batch_sizes="any") as on_a_server:
        for seq in range(STEPS):
            with on_a_server.attacked(settings) as run:
                run.play(seq, seq + 1)
                assert run.put(seq).json()["replay"]  # the same bytes once more
        with on_a_server.direct() as run:
            result = run.until("finished")["result"]
    assert result["parameters_sha256"] == whole["parameters_sha256"]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_game_in_one_process_goes_on_to_the_same_bits(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {key: value for key, value in tiny.SPECIFICATION.items() if key != "name"}
    game = {**settings, "attacker": ATTACKER, "defender": "level-1", "out": tmp_path, "run": "tiny"}
    monkeypatch.setattr(checkpointed, "REPLAY_SECONDS", 0.0)  # a checkpoint after each step
    passed = 0

    def reached(what: str) -> None:
        nonlocal passed
        passed += what == "recorded"
        if passed == 3:
            raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(faults, "reached", reached)
        with pytest.raises(Killed):
            midstream.play(**game, threads=1, device="cpu", follow=lambda *_: None)
    again = midstream.play(**game, threads=1, device="cpu", follow=lambda *_: None)
    assert again.parameters_sha256 == whole["parameters_sha256"]


def body(seq: int, rows: list[int]) -> bytes:
    """Return a minibatch of some rows of the run's own."""
    own = tiny.batch(seq)
    chosen = type(own)(seq, None, own.inputs[rows], own.labels[rows])
    return b"".join(encode_batch(chosen))


def test_a_server_that_is_killed_replays_batches_of_any_size(tmp_path: Path) -> None:
    def server(out: Path) -> Registry:
        return tiny.registry(out, checkpoint_every=4)

    rows = [[0], [*range(10)] * 2, [4, 2], [1] * 7, [3, 3, 0], [*range(5)]]
    with client_of(make_server(server(tmp_path / "runs"))) as client:
        run = TinyRun(client, batch_sizes="any")
        for seq in range(3):
            assert run.put(seq, body(seq, rows[seq])).status_code == 200
        run.until_recorded(3)
        shutil.copytree(tmp_path / "runs", tmp_path / "crashed")
        assert [run.put(seq, body(seq, rows[seq])).status_code for seq in range(3, 6)] == [200] * 3
        result = run.until("finished")["result"]
        assert [record["examples"] for record in run.until_recorded(6)] == [1, 20, 2, 7, 3, 5]
    registry = server(tmp_path / "crashed")
    registry.take_up(left_behind(tmp_path / "crashed"))
    with client_of(make_server(registry)) as client:
        again = TinyRun.found(client)
        again.until("running")  # the journal is replayed
        assert [again.put(seq, body(seq, rows[seq])).status_code for seq in range(3, 6)] == [200] * 3
        assert again.until("finished")["result"]["parameters_sha256"] == result["parameters_sha256"]


@pytest.mark.parametrize("rows", [[], [*range(10)] * 2 + [0]])
def test_more_than_twice_as_many_are_refused_and_none_are(server: httpx.Client, rows: list[int]) -> None:
    run = TinyRun(server, batch_sizes="any")
    assert problem(run.put(0, body(0, rows)), 422)["field"] == "inputs"


def test_a_run_that_did_not_ask_for_it_takes_no_other_size(server: httpx.Client) -> None:
    assert problem(TinyRun(server).put(0, body(0, [0, 1])), 422)["field"] == "inputs"
