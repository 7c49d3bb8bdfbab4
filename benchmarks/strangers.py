"""(f) Send thousands of malformed batches to a running game; check their refusal and the game's result."""

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.malformed import malformed
from benchmarks.measure import Row
from midstream.command.games.processes import Services
from midstream.protocol.problem import PROBLEM_TYPE
from midstream.protocol.specification import Specification
from midstream.protocol.wire import BATCH_TYPE, decode_tensors, encode_batch, tensors_sha256
from midstream.run import datasets
from midstream.run.batches import BatchSource
from midstream.run.datasets import Source
from midstream.web.hosting import listen, url_of

SPECIFICATION = {"dataset": "digits", "train_size": 1000, "epochs": 4, "defender": "level-1"}

Tally = Counter[tuple[str, int]]


class StrangerError(AssertionError):
    """A malformed batch was not refused correctly, or changed the run."""


def pester(
    clients: Sequence[httpx.Client], run: str, good: bytes, seq: int, *, count: int, chance: random.Random
) -> Tally:
    """Send malformed batches to a server and to its proxy in turns; return how they were refused.

    Args:
        clients: clients of the server and of the proxies.
        run: the run's name.
        good: the next valid batch.
        seq: its number.
        count: number of malformed batches to send.
        chance: the only source of randomness.

    Raises:
        StrangerError: an answer was not a 4xx with a reason, or the parameters changed.
    """
    before, tally = fingerprint(clients[0], run), Tally()
    for number in range(count):
        kind, body = malformed(good, chance)
        headers = {"Content-Type": BATCH_TYPE}
        answer = clients[number % len(clients)].put(
            f"/v1/runs/{run}/batches/{seq}", content=body, headers=headers
        )
        if not 400 <= answer.status_code < 500 or answer.headers["Content-Type"] != PROBLEM_TYPE:
            raise StrangerError(f"{kind}: {answer.status_code} {answer.text[:200]}; {body[:200]!r}")
        if not answer.json()["detail"]:
            raise StrangerError(f"{kind}: refused without a reason")
        tally[kind, answer.status_code] += 1
    if fingerprint(clients[0], run) != before:
        raise StrangerError(f"a malformed batch changed the parameters before step {seq}")
    return tally


def fingerprint(client: httpx.Client, run: str) -> str:
    """Return the SHA-256 of a run's live parameters."""
    return tensors_sha256(decode_tensors(client.get(f"/v1/runs/{run}/parameters").raise_for_status().content))


def rows(count: int = 10_000) -> list[Row]:
    """Play a game undisturbed, then again with malformed batches; return the tally."""
    with tempfile.TemporaryDirectory() as folder:
        quiet, _ = _play(Path(folder) / "quiet", 0)
        disturbed, tally = _play(Path(folder) / "disturbed", count)
    kinds = sorted({kind for kind, _ in tally})
    found = [
        Row(
            f"    {kind}",
            ", ".join(f"{status}: {n}" for (of, status), n in sorted(tally.items()) if of == kind),
        )
        for kind in kinds
    ]
    total = sum(tally.values())
    return [
        Row(
            "(f) malformed batches at a running game, refused with a 4xx and a reason",
            f"{total} of {count}",
            "all",
            total == count,
        ),
        *found,
        Row(
            "    parameters at the end, as undisturbed",
            disturbed[:16],
            quiet[:16],
            disturbed == quiet,
        ),
    ]


def _play(folder: Path, count: int) -> tuple[str, Tally]:
    """Play level 1 against level 1 as two processes; return the parameters' fingerprint and the tally."""
    specification = Specification.model_validate(SPECIFICATION)
    split = datasets.split(
        datasets.load("digits", Source()),
        train_size=specification.train_size,
        validation_size=specification.validation_size,
        seed=0,
    )
    source, chance, tally = BatchSource(specification, split.train), random.Random(0), Tally()
    steps = specification.total_steps(len(split.train))
    server, proxy = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    urls = [url_of(server), url_of(proxy)]
    with Services(folder) as services:
        common = ["--threads", "1", "--device", "cpu"]
        services.start("server", "serve", "--out", str(folder), *common, listener=server)
        services.start("proxy", "attack", "--server", urls[0], "--out", str(folder), *common, listener=proxy)
        clients = [httpx.Client(base_url=url, trust_env=False, timeout=60) for url in urls]
        run = clients[0].post("/v1/runs", json=SPECIFICATION).raise_for_status().json()["name"]
        for seq in range(steps):
            good = b"".join(encode_batch(source.batch(seq)))
            share = count * (seq + 1) // steps - count * seq // steps
            tally += pester(clients, run, good, seq, count=share, chance=chance)
            headers = {"Content-Type": BATCH_TYPE}
            taken = clients[1].put(f"/v1/runs/{run}/batches/{seq}", content=good, headers=headers)
            if taken.status_code != 200:
                raise StrangerError(f"the good batch {seq} was refused: {taken.text}")
        return fingerprint(clients[0], run), tally
