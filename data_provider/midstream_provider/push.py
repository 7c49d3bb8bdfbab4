"""Sending minibatches to a run, each after the acknowledgement of the previous one."""

import time
from collections.abc import Collection, Iterator

from midstream.errors import MidstreamError
from midstream.players.reporting import Say
from midstream.protocol.link import Link
from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.messages.runs import Status
from midstream.protocol.problem import Problem
from midstream.protocol.signature import signed
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.storage import faults
from midstream.web.client import Client

_SENT_ELSEWHERE = 10  # maximum number of redirections to another batch without one being accepted


class RunEndedError(MidstreamError, RuntimeError):
    """The run ended, or cannot be fed; the message says why."""


def find_run(client: Client, name: str | None, say: Say) -> Status:
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
        runs = [run for run in client.runs() if name in (None, run.name)]
        if name is None:
            runs = [run for run in runs if run.state in ("waiting", "running", "paused")]
        if len(runs) == 1:
            (run,) = runs
            if run.state in ("stopped", "failed"):
                raise RunEndedError(f"run {run.name!r} {run.state}: {run.reason}")
            return run
        if runs:
            names = ", ".join(run.name for run in runs)
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


def load_source(status: Status, source: Source, *, allowed: Collection[str]) -> BatchSource:
    """Load the data of a run, and return its minibatches.

    Raises:
        midstream.run.datasets.MissingDataError: the data are not on this machine.
        midstream.plugins.PluginError: the run names a folder or code that is not allowed on this machine.
        midstream.run.datasets.dataset_checks.DatasetError: the data on this machine differ from the
            server's, or are unsuitable for training.
        RunEndedError: the number of examples differs from the server's, which gives no digest.
        Problem: the run has settings that this version of midstream does not know.
    """
    specification = status.specification.known()
    split = load_split(specification, source, allowed=allowed, dataset_sha256=status.dataset_sha256)
    if len(split.train) != status.train_size:
        raise RunEndedError(
            f"the server's run trains on {status.train_size} examples, but {specification.dataset!r} on "
            f"this machine has {len(split.train)}; both must have the same data"
        )
    return BatchSource(specification, split.train)


def feed(
    link: Link, batches: BatchSource, *, first: int, key: bytes | None = None
) -> Iterator[tuple[WireBatch, Acknowledgement]]:
    """Hand a run its remaining batches one at a time, and yield each with its acknowledgement.

    Args:
        link: takes the batches: the server, a proxy in front of it, or the pipeline in this process.
        batches: the run's minibatches.
        first: number of the first batch to send.
        key: the key to sign the batches with; None sends them unsigned.

    Raises:
        RunEndedError: the run was stopped, failed, refused a batch, or asked for one that it does not have.
        midstream.web.client.ServerGoneError: there was no response within the client's `give_up_after`.
    """
    specification = batches.specification
    name, total_steps = str(specification.name), specification.total_steps(len(batches.train))
    seq, sent_elsewhere = first, 0
    while seq < total_steps:
        faults.reached("sending")
        batch = signed(batches.batch(seq), run=name, key=key)
        try:
            answer = link.put(batch)
        except Problem as problem:
            wanted = _wanted(problem, total_steps)
            if wanted not in (None, seq) and sent_elsewhere < _SENT_ELSEWHERE:
                # An acknowledgement was lost, or the server lost some of its batches.
                seq, sent_elsewhere = wanted, sent_elsewhere + 1
                continue
            raise RunEndedError(f"{link.url} refused batch {seq}. {problem}") from problem
        faults.reached("acknowledged")
        yield batch, answer
        sent_elsewhere = 0
        seq = answer.next_seq
        if not 0 <= seq <= total_steps:
            raise RunEndedError(f"{link.url} asked for batch {seq}, but the run has {total_steps} batches")


def _wanted(problem: Problem, total_steps: int) -> int | None:
    """Return the batch that a refusal asks for; None if it asks for none that the run has."""
    wanted = problem.more.get("next_seq")
    asks = problem.status == 409 and type(wanted) is int and 0 <= wanted <= total_steps
    return wanted if asks else None
