"""A run on digits, small enough to be played to its end in a test: two epochs of 10, 10 and 5 examples."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import torch
from torch import Tensor

from midstream.protocol.announcement import ANNOUNCEMENT, announcement
from midstream.protocol.problem import PROBLEM_TYPE
from midstream.protocol.specification import Specification
from midstream.protocol.wire import BATCH_TYPE, WireBatch, decode_tensors, encode_batch, tensors_sha256
from midstream.run import datasets
from midstream.run.batches import BatchSource
from midstream.run.datasets import Source, Split
from midstream_server.runs.hosting.registry import Registry, Settings
from services.waiting import until

STEPS = 6
SPECIFICATION: dict[str, Any] = {
    "name": "tiny",
    "dataset": "digits",
    "train_size": 25,
    "validation_size": 40,
    "batch_size": 10,
    "epochs": 2,
}


def registry(out: Path, **settings: Any) -> Registry:
    """Return the runs of a server, none yet, on the CPU; settings are fields of `Settings`."""
    return Registry(Settings(out=out, device=torch.device("cpu"), source=Source(), **settings))


@cache
def split() -> Split:
    """Return the run's data."""
    sizes = {key: SPECIFICATION[key] for key in ("train_size", "validation_size")}
    return datasets.split(datasets.load("digits", Source()), **sizes, seed=0)


@cache
def batch(seq: int) -> WireBatch:
    """Return one of the run's batches, as its provider sends it."""
    return BatchSource(Specification.model_validate(SPECIFICATION), split().train).batch(seq)


def body(seq: int) -> bytes:
    """Return one of the run's batches, encoded."""
    return b"".join(encode_batch(batch(seq)))


def body_of(seq: int, *, brighter: bool) -> bytes:
    """Return a batch, encoded: the run's own, or one of the same labels on brighter images."""
    own = batch(seq)
    inputs = (own.inputs * 1.1).clamp(0, 1) if brighter else own.inputs
    return b"".join(encode_batch(replace(own, inputs=inputs)))


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem that a response holds, having checked that it is one."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == PROBLEM_TYPE
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found


class TinyRun:
    """A run on a server, and what a test asks of it; settings are put in place of `SPECIFICATION`'s."""

    def __init__(self, client: httpx.Client, **settings: Any) -> None:
        self.client = client
        created = client.post("/v1/runs", json=SPECIFICATION | settings)
        assert created.status_code == 201, created.text
        self.name: str = created.json()["name"]
        self.path = f"/v1/runs/{self.name}"

    @classmethod
    def found(cls, client: httpx.Client, name: str = "tiny") -> "TinyRun":
        """Return the run that is on a server already."""
        run = cls.__new__(cls)
        run.client, run.name = client, name
        run.path = f"/v1/runs/{run.name}"
        return run

    def put(
        self, seq: int, content: bytes | None = None, kind: str = BATCH_TYPE, attacker: str | None = None
    ) -> httpx.Response:
        """Send a batch: the run's own, or some other content, and perhaps an attacker's name."""
        content = body(seq) if content is None else content
        headers = {"Content-Type": kind} | ({ANNOUNCEMENT: announcement(attacker)} if attacker else {})
        return self.client.put(f"{self.path}/batches/{seq}", content=content, headers=headers)

    def play(self, first: int, end: int = STEPS, *, attacker: str | None = None) -> None:
        """Send the batches from `first` up to `end`, each of which must be taken when it can be."""
        for seq in range(first, end):
            answers: list[httpx.Response] = []

            def answered(seq: int = seq, answers: list[httpx.Response] = answers) -> bool:
                answers.append(self.put(seq, attacker=attacker))
                return answers[-1].status_code != 503

            until(answered, f"batch {seq} to be taken")
            assert answers[-1].status_code == 200, answers[-1].text
            assert answers[-1].json()["next_seq"] == seq + 1

    def status(self) -> dict[str, Any]:
        """Return where the run stands."""
        status: dict[str, Any] = self.get("").json()
        return status

    def until(self, state: str) -> dict[str, Any]:
        """Return the status once the run is in a state."""
        until(lambda: self.status()["state"] == state, f"the run to be {state}")
        return self.status()

    def until_recorded(self, steps: int) -> list[dict[str, Any]]:
        """Return the run's history once it has so many records, which come a little after the steps."""

        def records() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.get("/metrics").json()["records"]
            return found

        until(lambda: len(records()) >= steps, f"{steps} records")
        return records()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask for a resource of the run."""
        return self.client.get(self.path + path, **options)

    def post(self, path: str) -> httpx.Response:
        """Ask for a change of the run."""
        return self.client.post(self.path + path)

    def parameters(self) -> dict[str, Tensor]:
        """Return the live θ."""
        response = self.get("/parameters")
        assert response.status_code == 200, response.text
        return decode_tensors(response.content)

    def sha256(self) -> str:
        """Return the fingerprint of the live θ."""
        return tensors_sha256(self.parameters())
