"""The runs of one server."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from midstream import datasets
from midstream.batches import load_split
from midstream.plugins import PluginError
from midstream.problem import Problem
from midstream.runfolder import RunFolder
from midstream.specification import Specification
from midstream.storage import remove
from midstream_server.durable import DurableRun
from midstream_server.hosted import HostedRun
from midstream_server.journal import Journal
from midstream_server.record import RecordedRun
from midstream_server.resuming import (
    JOURNAL,
    check_environment,
    check_order,
    resume,
    specification_of,
)
from midstream_server.training import TrainingRun


@dataclass(frozen=True)
class Settings:
    """What the operator of this server decided.

    Attributes:
        out: folder that run folders are made in.
        device: where to compute.
        source: where data sets come from.
        allowed: folders, dotted paths and files that a specification may name.
        max_runs: how many runs one server holds.
        checkpoint_every: steps after which a checkpoint is written at the latest.
        cache: folder of what defenders learned; None for `~/.cache/midstream/learned`.
        resume_anyway: whether a run goes on where versions, device or thread count differ.
        signature_key: the key that batches must be signed with; None takes them unsigned.
    """

    out: Path
    device: torch.device
    source: datasets.Source
    allowed: frozenset[str] = frozenset()
    max_runs: int = 16
    checkpoint_every: int = 100
    cache: Path | None = None
    resume_anyway: bool = False
    signature_key: bytes | None = field(default=None, repr=False)


class Registry:
    """Makes runs, and finds them by name."""

    def __init__(self, settings: Settings, say: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self.say = say
        self.runs: dict[str, HostedRun] = {}
        self.loading: str | None = None
        self.closing = False

    def create(self, specification: Specification) -> HostedRun:
        """Load the data, build the model, make the folder; the run then waits for its first batch.

        Raises:
            Problem: the specification cannot be played here, and why.
        """
        name = specification.name or self._free_name(specification)
        return self._host(specification.model_copy(update={"name": name}))

    def find(self, name: str) -> HostedRun:
        """Return a run by name.

        Raises:
            Problem: 404, naming the runs there are.
        """
        if name in self.runs:
            return self.runs[name]
        known = ", ".join(sorted(self.runs)) or "none yet"
        raise Problem(404, "No such run", f"there is no run {name!r} on this server; runs: {known}")

    def refuse_while_loading(self) -> None:
        """Raise Problem 503 while a data set is being loaded."""
        if self.loading is not None:
            raise Problem(
                503, "Not ready", f"waiting for data set {self.loading!r} to be loaded", retry_after=1
            )

    def waiting_for(self) -> str | None:
        """Return what this server waits for before it can take a batch, or None."""
        return None if self.runs else "a run: POST /v1/runs, or start it with --dataset"

    def take_up(self, names: Iterable[str]) -> None:
        """Take up runs that an earlier server left behind; `HostedRun.begin` then replays their journals.

        Raises:
            ResumeError: a run cannot go on here.
            Problem: its data or its players are not here.
        """
        for name in names:
            path = self.settings.out / name
            device, anyway = self.settings.device, self.settings.resume_anyway
            identity = check_environment(path, device, anyway=anyway)
            self._host(specification_of(path), identity)

    def _host(self, specification: Specification, identity: str | None = None) -> HostedRun:
        assert specification.name is not None
        name, settings = specification.name, self.settings
        if name in self.runs:
            raise Problem(409, "That run exists", f"run {name!r} is {self.runs[name].state}; name another")
        if len(self.runs) >= settings.max_runs:
            raise Problem(409, "Too many runs", f"this server holds {len(self.runs)} runs, its limit")
        self.loading = specification.dataset
        try:
            split = load_split(specification, settings.source, allowed=settings.allowed)
            run = TrainingRun(specification, split, device=settings.device, allowed=settings.allowed)
            if identity is not None:
                check_order(settings.out / name, run.order, anyway=settings.resume_anyway)
            folder = RunFolder(settings.out / name, resumed=identity is not None)
            with ExitStack() as undo:
                undo.callback(folder.close)
                durable = self._new(run, folder) if identity is None else self._old(run, folder, identity)
                self.runs[name] = HostedRun(name, durable, self.say, cache=settings.cache)
                undo.pop_all()
        except (PluginError, datasets.MissingDataError, ValueError) as error:
            raise Problem(422, "The specification cannot be played here", str(error)) from error
        except FileExistsError as error:
            raise Problem(409, "The run folder is taken", str(error)) from error
        finally:
            self.loading = None
        return self.runs[name]

    def _new(self, run: TrainingRun, folder: RunFolder) -> DurableRun:
        folder.mark_open()
        path = folder.path / JOURNAL
        remove(path)  # of a run that was not yet one when its server ended
        # Its specification comes last: with it the folder holds a run.
        return DurableRun(
            RecordedRun(run, folder), Journal(path), checkpoint_every=self.settings.checkpoint_every
        )

    def _old(self, run: TrainingRun, folder: RunFolder, identity: str) -> DurableRun:
        every = self.settings.checkpoint_every
        return resume(run, folder, identity, checkpoint_every=every, say=self.say)

    def _free_name(self, specification: Specification) -> str:
        stem = specification.dataset if specification.dataset.replace("-", "").isalnum() else "run"
        number = 1
        while f"{stem}-{number}" in self.runs or (self.settings.out / f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"
