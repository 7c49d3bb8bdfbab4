"""A run on a server, reached through proxies that attack it and remember, one after the other."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from midstream.protocol.wire import encode_batch
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.games import in_one_process
from services.loopback import served
from services.recorder import Recorder
from services.tiny import TinyRun

EVOSHIFT = AttackSettings("evoshift")
LEVEL_1 = AttackSettings("level-1,beta=0.9")
COUNTING = '''
import torch
from pathlib import Path


class Counting:
    """Moves every input by how often it was asked; it fails at one batch once it has counted."""

    def __init__(self, *, fails_at: int = -1, unless: str = "") -> None:
        self.count = torch.zeros(())
        self.fails_at, self.unless = fails_at, unless

    def perturb(self, batch, view):
        self.count += 1
        if batch.seq == self.fails_at and not (self.unless and Path(self.unless).exists()):
            raise KeyError("out of ideas")
        return torch.full_like(batch.inputs, float(self.count) / 20)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]
'''


@dataclass(frozen=True)
class Served:
    """A run on a server.

    Attributes:
        upstream: the server's base URL.
        recorder: what came to it.
        tmp_path: the folder of everything.
    """

    upstream: str
    recorder: Recorder
    tmp_path: Path

    @property
    def memory(self) -> Path:
        """The folder that proxies remember in."""
        return self.tmp_path / "attacks"

    @contextmanager
    def attacked(
        self, settings: AttackSettings = LEVEL_1, *, memory: Path | None = None, **options: Any
    ) -> Iterator[TinyRun]:
        """Give the run through a proxy that remembers."""
        proxy = Proxy(self.upstream, settings, out=memory or self.memory, **options)
        with served(make_app(proxy), transparent=True) as url, client_at(url) as client:
            yield TinyRun.found(client)

    def crashed(self, name: str) -> Path:
        """Return what a proxy that died now would leave of its memory."""
        return Path(shutil.copytree(self.memory, self.tmp_path / name))

    @contextmanager
    def direct(self) -> Iterator[TinyRun]:
        """Give the run as it is without a proxy."""
        with client_at(self.upstream) as client:
            yield TinyRun.found(client)


@contextmanager
def on_a_server(tmp_path: Path, *, resumed: Path | None = None, **settings: Any) -> Iterator[Served]:
    """Give a run on a server, a new one or the one that another server left in a folder."""
    registry = tiny.registry(resumed or tmp_path / "runs")
    if resumed is not None:
        registry.take_up(left_behind(resumed))
    recorder = Recorder(make_server(registry))
    with served(recorder) as upstream, client_at(upstream) as client:
        if resumed is None:
            TinyRun(client, **settings)
        yield Served(upstream, recorder, tmp_path)


_ENDS: dict[tuple[str, str], str] = {}


def undisturbed(tmp_path: Path, attack: AttackSettings, *, defender: str = "none") -> str:
    """Return the fingerprint of a game that nobody disturbs; in one process it is the same as over HTTP."""
    players = attack.attacker, defender
    if players not in _ENDS:
        _ENDS[players] = in_one_process(tmp_path / "undisturbed", *players)["parameters_sha256"]
    return _ENDS[players]


def other_body(seq: int) -> bytes:
    """Return a batch that could come under a number as well, with other content."""
    batch = tiny.batch(seq)
    return b"".join(encode_batch(replace(batch, inputs=batch.inputs.flip(0))))


def counting(tmp_path: Path, *, fails_at: int, unless: Path | None = None) -> str:
    """Return the name of a plug-in that counts, and fails at one batch."""
    (tmp_path / "counting.py").write_text(COUNTING)
    name = f"{tmp_path / 'counting.py'}:Counting,fails_at={fails_at}"
    return name if unless is None else f"{name},unless={unless}"


def client_at(url: str) -> httpx.Client:
    """Return a client of a server or a proxy."""
    return httpx.Client(base_url=url, trust_env=False, timeout=60)
