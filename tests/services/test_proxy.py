"""The man in the middle of a real run: what it changes, what it must not, and how it fails."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import msgpack
import pytest
import torch

from midstream import pixels
from midstream.protocol.wire import WireBatch, decode_batch, encode_batch
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.loopback import served, unused_url
from services.recorder import Recorder
from services.tiny import STEPS, TinyRun, problem

EPSILON = 1.5


@dataclass(frozen=True)
class Middle:
    """A run that is played through a proxy."""

    run: TinyRun
    recorder: Recorder
    direct: httpx.Client

    def other(self, name: str) -> TinyRun:
        """Return another run behind the same proxy."""
        return TinyRun(self.run.client, name=name)


Between = Callable[..., AbstractContextManager[Middle]]


@pytest.fixture
def between(registry: Registry) -> Between:
    @contextmanager
    def start(attacker: str, *, only: str | None = None) -> Iterator[Middle]:
        recorder = Recorder(make_server(registry))
        with served(recorder) as upstream:
            proxy = Proxy(upstream, AttackSettings(attacker, EPSILON), run=only)
            with (
                served(make_app(proxy), transparent=True) as url,
                httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
                httpx.Client(base_url=upstream, trust_env=False, timeout=60) as direct,
            ):
                yield Middle(TinyRun(client), recorder, direct)

    return start


def test_without_an_attacker_a_batch_passes_to_the_byte(between: Between) -> None:
    with between("none") as middle:
        odd = msgpack.packb(dict(reversed(msgpack.unpackb(tiny.body(0)).items())))  # not as we encode it
        middle.run.put(0, odd)
        middle.run.play(1, 3)
        assert middle.recorder.batches == [odd, tiny.body(1), tiny.body(2)]


@pytest.mark.parametrize(
    ("attacker", "shown"), [("none", None), ("level-1,beta=0", "level-1,beta=0 · ε 1.5 l2")]
)
def test_the_run_s_status_names_the_attacker(between: Between, attacker: str, shown: str | None) -> None:
    with between(attacker) as middle:
        assert middle.run.status()["attacker"] is None
        middle.run.play(0, 1)
        assert middle.run.status()["attacker"] == shown


def test_an_attacked_batch_stays_within_its_budget_and_keeps_its_labels(between: Between) -> None:
    with between("level-1,beta=0") as middle:
        middle.run.play(0)
        assert len(middle.recorder.batches) == STEPS
        for seq, body in enumerate(middle.recorder.batches):
            clean, attacked = tiny.batch(seq), decode_batch(body)
            assert attacked.seq == attacked.parameters_version == seq
            assert attacked.inputs.dtype == torch.float32
            assert torch.equal(attacked.labels, clean.labels)
            assert 0 <= attacked.inputs.min() <= attacked.inputs.max() <= 1
            moved = (attacked.inputs - clean.inputs).flatten(1).norm(dim=1)
            assert moved.max() <= EPSILON * (1 + 1e-5)
            assert moved.mean() > EPSILON / 3


def test_integer_pixels_are_attacked_as_pixels(between: Between) -> None:
    with between("level-1,beta=0") as middle:
        whole = (tiny.batch(0).inputs * 255).to(torch.uint8)
        sent = b"".join(encode_batch(WireBatch(0, None, whole, tiny.batch(0).labels)))
        assert middle.run.put(0, sent).status_code == 200
        attacked = decode_batch(middle.recorder.batches[0]).inputs
        assert attacked.dtype == torch.float32
        moved = (attacked - pixels(whole)).flatten(1).norm(dim=1)
        assert EPSILON / 3 < moved.max() <= EPSILON * (1 + 1e-5)


def test_a_batch_sent_again_is_forwarded_as_the_same_bytes(between: Between) -> None:
    with between("level-1") as middle:
        for seq in range(STEPS):
            first = middle.run.put(seq).json()
            assert first["replay"] is False
            assert middle.run.put(seq).json() == first | {"replay": True}
        twice = middle.recorder.batches
        assert twice[0::2] == twice[1::2]
        once = middle.other("once")
        once.play(0)
        assert once.sha256() == middle.run.sha256()  # the attacker remembered each move once


def test_only_the_run_that_was_named_is_attacked(between: Between) -> None:
    with between("level-1", only="tiny") as middle:
        spared = middle.other("spared")
        spared.play(0, 2)
        assert middle.recorder.batches == [tiny.body(0), tiny.body(1)]
        middle.run.play(0, 1)
        assert middle.recorder.batches[-1] != tiny.body(0)


FAULTS = {
    "raises": "raise RuntimeError('out of ideas')",
    "a NaN": "return batch.inputs * float('nan')",
    "another shape": "return batch.inputs[:1]",
    "no tensor": "return 0.5",
}


@pytest.mark.logs_errors
@pytest.mark.parametrize("fault", FAULTS)
def test_an_attacker_that_fails_is_named_and_nothing_passes(
    between: Between, fault: str, tmp_path: Path
) -> None:
    plugin = tmp_path / f"{fault.replace(' ', '_')}.py"
    plugin.write_text(f"class Broken:\n    def perturb(self, batch, view):\n        {FAULTS[fault]}\n")
    name = f"{plugin}:Broken"
    with between(name) as middle:
        before = middle.run.sha256()
        found = problem(middle.run.put(0), 500)
        assert name in found["detail"]
        assert "batch 0" in found["detail"]
        assert middle.recorder.batches == []
        assert middle.run.sha256() == before


def test_a_batch_that_is_not_next_is_409_and_not_forwarded(between: Between) -> None:
    with between("level-1") as middle:
        assert problem(middle.run.put(2), 409)["next_seq"] == 0
        assert middle.recorder.batches == []
        middle.run.play(0, 4)
        again = middle.run.put(0)
        assert (again.status_code, again.json()["replay"], again.json()["next_seq"]) == (200, True, 4)
        other = b"".join(encode_batch(replace(tiny.batch(0), labels=tiny.batch(0).labels.flip(0))))
        assert problem(middle.run.put(0, other), 409)["next_seq"] == 4
        middle.run.play(4)


def test_a_body_that_is_no_batch_is_400_and_not_forwarded(between: Between) -> None:
    with between("level-1") as middle:
        problem(middle.run.put(0, b"no batch"), 400)
        assert middle.recorder.batches == []
        middle.run.play(0, 1)


def test_an_unknown_run_is_the_servers_404(between: Between) -> None:
    with between("level-1") as middle:
        response = middle.run.client.put("/v1/runs/tony/batches/0", content=tiny.body(0))
        assert "tiny" in problem(response, 404)["detail"]


@pytest.mark.parametrize(
    "name", ["tiny%3Fb", "tiny%23b", "tiny%3F", "%3F", "tiny%25", "tiny%20", "t%C3%AFny"]
)
def test_a_run_that_is_named_with_any_character_is_the_servers_404(between: Between, name: str) -> None:
    with between("level-1") as middle:
        answer = middle.run.client.put(f"/v1/runs/{name}/batches/0", content=tiny.body(0))
        assert "no run" in problem(answer, 404)["detail"]


def test_a_paused_run_asks_the_provider_for_patience(between: Between) -> None:
    with between("level-1") as middle:
        middle.run.play(0, 1)
        middle.direct.post("/v1/runs/tiny/pause")
        response = middle.run.put(1)
        assert "paused" in problem(response, 503)["detail"]
        assert response.headers["Retry-After"] == "1"
        middle.direct.post("/v1/runs/tiny/resume")
        middle.run.play(1)


def test_without_a_server_an_attacked_batch_is_502() -> None:
    with (
        unused_url() as upstream,
        served(make_app(Proxy(upstream, AttackSettings("level-1")))) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        assert upstream in problem(client.put("/v1/runs/tiny/batches/0", content=tiny.body(0)), 502)["detail"]
