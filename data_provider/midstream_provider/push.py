"""Sending minibatches to a run, each after the acknowledgement of the previous one."""

import time
from collections.abc import Callable, Collection
from typing import Any

from midstream.errors import MidstreamError
from midstream.protocol.problem import Problem
from midstream.protocol.signature import signed
from midstream.protocol.specification import Specification
from midstream.protocol.wire import encode_batch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.run.reporting import Say
from midstream.storage import faults
from midstream.web.client import Client

_SENT_ELSEWHERE = 10  # maximum number of redirections to another batch without one being accepted


class RunEndedError(MidstreamError, RuntimeError):
    """The run ended, or cannot be fed; the message says why."""


def find_run(client: Client, name: str | None, say: Say) -> dict[str, Any]:
    """Wait until there is a run to feed, and return its status.

    Args:
        client: the server, or a proxy in front of it.
        name: the run's name; None selects the only run that is not over.
        say: called with a sentence if there is no such run yet.

    Raises:
        RunEndedError: several runs wait for batches and `name` is None, or the named run is over.
        Problem: the named run was set aside, and no file holds its specification.
    """
    told = False
    while True:
        runs = [run for run in client.runs() if name in (None, run["name"])]
        if name is None:
            runs = [run for run in runs if run["state"] in ("waiting", "running", "paused")]
        if len(runs) == 1:
            if runs[0]["state"] in ("stopped", "failed"):
                raise RunEndedError(f"run {runs[0]['name']!r} {runs[0]['state']}: {runs[0]['reason']}")
            return runs[0]
        if runs:
            names = ", ".join(run["name"] for run in runs)
            raise RunEndedError(
                f"{client.url} has several runs that wait for batches: {names}; choose one with --run"
            )
        if name is not None:
            _refuse_set_aside(client, name)
        if not told:
            which = "a run" if name is None else f"run {name!r}"
            say(f"waiting for {which} to be started at {client.url}")
            told = True
        time.sleep(0.5)


def _refuse_set_aside(client: Client, name: str) -> None:
    try:
        client.run(name)
    except Problem as problem:
        if problem.status != 404:
            raise


def load_source(status: dict[str, Any], source: Source, *, allowed: Collection[str]) -> BatchSource:
    """Load the data of a run, and return its minibatches.

    Raises:
        midstream.run.datasets.MissingDataError: the data are not on this machine.
        midstream.plugins.PluginError: the run names a folder or code that is not allowed on this machine.
        midstream.run.dataset_checks.DatasetError: the data on this machine differ from the server's, or are
            unsuitable for training.
        RunEndedError: the number of examples differs from the server's, which gives no digest.
    """
    specification = Specification.model_validate(status["specification"])
    split = load_split(specification, source, allowed=allowed, dataset_sha256=status.get("dataset_sha256"))
    if len(split.train) != status["train_size"]:
        raise RunEndedError(
            f"the server's run trains on {status['train_size']} examples, but {specification.dataset!r} on "
            f"this machine has {len(split.train)}; both must have the same data"
        )
    return BatchSource(specification, split.train)


def push(
    client: Client,
    status: dict[str, Any],
    batches: BatchSource,
    acknowledged: Callable[[dict[str, Any]], None],
    *,
    key: bytes | None = None,
) -> None:
    """Send all remaining batches of a run, waiting for each acknowledgement.

    Args:
        client: the server, or a proxy in front of it.
        status: the run's status; its `step` is the first batch to send.
        batches: the run's minibatches.
        acknowledged: called with each acknowledgement.
        key: the key to sign the batches with; None sends them unsigned.

    Raises:
        RunEndedError: the run was stopped, failed, or refused a batch.
        midstream.web.client.ServerGoneError: there was no response within the client's `give_up_after`.
    """
    name, seq, sent_elsewhere = status["name"], status["step"], 0
    while seq < status["total_steps"]:
        faults.reached("sending")
        try:
            answer = client.put_batch(name, seq, encode_batch(signed(batches.batch(seq), run=name, key=key)))
        except Problem as problem:
            next_seq = problem.more.get("next_seq")
            elsewhere = problem.status == 409 and isinstance(next_seq, int) and next_seq != seq
            if elsewhere and sent_elsewhere < _SENT_ELSEWHERE:
                # An acknowledgement was lost, or the server lost some of its batches.
                seq, sent_elsewhere = next_seq, sent_elsewhere + 1
                continue
            raise RunEndedError(f"{client.url} refused batch {seq}. {problem}") from problem
        faults.reached("acknowledged")
        acknowledged(answer)
        sent_elsewhere = 0
        seq = answer["next_seq"]
