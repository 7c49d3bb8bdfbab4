"""The runs of one server."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from midstream.plugins import PluginError
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.run import datasets
from midstream.run.batches import load_split
from midstream.storage.run_folder import RunFolder
from midstream.storage.sqlite import remove
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.durable import DurableRun
from midstream_server.runs.recovery.journal import Journal
from midstream_server.runs.recovery.left import JOURNAL
from midstream_server.runs.recovery.provenance import Provenance, Standing
from midstream_server.runs.recovery.resuming import Recovered, recover, resume
from midstream_server.runs.recovery.set_aside import SetAside
from midstream_server.runs.training import TrainingRun


@dataclass(frozen=True)
class Settings:
    """The operator's settings of a server.

    Attributes:
        out: parent folder of the run folders.
        device: where to compute.
        source: where data sets come from.
        allowed: folders, dotted paths and files that a specification may name.
        max_runs: maximum number of runs on this server.
        checkpoint_every: maximum number of steps between checkpoints.
        cache: cache folder of the defenders' pretrained state; None for `~/.cache/midstream/learned`.
        resume_anyway: whether to resume a run if versions, device, thread count, data set or order of
            derivatives differ.
        signature_key: the key that batches must be signed with; None accepts unsigned batches.
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
    """Creates runs, resumes them, and finds them by name."""

    def __init__(self, settings: Settings, say: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self.say = say
        self.runs: dict[str, HostedRun] = {}
        self.set_aside: dict[str, SetAside] = {}
        """Runs of an earlier server that cannot be resumed here."""
        self.loading: str | None = None
        self.closing = False

    def create(self, specification: Specification) -> HostedRun:
        """Load the data, build the model, create the folder; the run then waits for its first batch.

        Raises:
            Problem: the run cannot be created here; the problem says why.
        """
        name = specification.name or self._free_name(specification)
        return self._host(specification.model_copy(update={"name": name}))

    def find(self, name: str) -> HostedRun:
        """Return a run by name.

        Raises:
            Problem: 404 if there is no such run, listing the runs that exist; 409 if it was set aside.
        """
        if name in self.runs:
            return self.runs[name]
        if name in self.set_aside:
            raise Problem(409, "The run is set aside", self.set_aside[name].sentence)
        known = ", ".join(sorted(self.runs)) or "none yet"
        raise Problem(404, "No such run", f"there is no run {name!r} on this server; runs: {known}")

    def refuse_while_loading(self) -> None:
        """Raise Problem 503 while a data set is being loaded."""
        if self.loading is not None:
            raise Problem(
                503, "Not ready", f"waiting for data set {self.loading!r} to be loaded", retry_after=1
            )

    def waiting_for(self) -> str | None:
        """Return what the server needs before it can take a batch, or None."""
        return None if self.runs else "a run: POST /v1/runs, or start it with --dataset"

    def take_up(self, names: Iterable[str]) -> None:
        """Resume the runs of an earlier server; `HostedRun.begin` then replays their journals.

        A run that cannot be resumed is set aside with a reason, and does not stop the others.
        """
        for name in names:
            path = self.settings.out / name
            found: Recovered | None = None
            try:
                found = recover(path, say=self.say)
                self._host(found.provenance.trained(), found)
            except Exception as error:
                self.set_aside[name] = SetAside.of(path, error, found)
                self.say(self.set_aside[name].sentence)

    def release(self) -> None:
        """Close the files of runs that were never begun."""
        for run in self.runs.values():
            run.durable.close(over=False)

    def _host(self, specification: Specification, left: Recovered | None = None) -> HostedRun:
        assert specification.name is not None
        name, settings = specification.name, self.settings
        if name in self.runs:
            raise Problem(409, "That run exists", f"run {name!r} is {self.runs[name].state}; name another")
        if name in self.set_aside:
            raise Problem(409, "That run exists", f"{self.set_aside[name].sentence}; name another")
        if len(self.runs) >= settings.max_runs:
            raise Problem(409, "Too many runs", f"this server holds {len(self.runs)} runs, its limit")
        self.loading = specification.dataset
        undo = ExitStack()
        if left is not None:
            undo.callback(left.journal.close)
        try:
            split = load_split(specification, settings.source, allowed=settings.allowed)
            run = TrainingRun(specification, split, device=settings.device, allowed=settings.allowed)
            folder = RunFolder(settings.out / name, resumed=left is not None)
            undo.callback(folder.close)
            durable = self._new(run, folder) if left is None else self._old(run, folder, left)
            self.runs[name] = HostedRun(name, durable, self.say, cache=settings.cache)
            undo.pop_all()
        except (PluginError, datasets.MissingDataError, ValueError) as error:
            raise Problem(422, "The specification cannot be played here", str(error)) from error
        except FileExistsError as error:
            raise Problem(409, "The run folder is taken", str(error)) from error
        except OSError as error:
            raise Problem(503, "The run cannot be stored", str(error), retry_after=1) from error
        finally:
            undo.close()
            self.loading = None
        return self.runs[name]

    def _new(self, run: TrainingRun, folder: RunFolder) -> DurableRun:
        path, provenance = folder.path / JOURNAL, Provenance.of(run)
        remove(path)  # left by a server that died while it created the run
        with ExitStack() as undo:
            journal = Journal(path, provenance)
            undo.callback(journal.close)
            folder.mark_open(Standing(provenance).written())
            recorded = RecordedRun(run, folder, provenance=provenance)
            recorded.begin()  # writes the specification last: its presence makes the folder a run
            undo.pop_all()
        return DurableRun(recorded, journal, checkpoint_every=self.settings.checkpoint_every)

    def _old(self, run: TrainingRun, folder: RunFolder, left: Recovered) -> DurableRun:
        every, anyway = self.settings.checkpoint_every, self.settings.resume_anyway
        return resume(run, folder, left, checkpoint_every=every, anyway=anyway)

    def _free_name(self, specification: Specification) -> str:
        stem = specification.dataset if specification.dataset.replace("-", "").isalnum() else "run"
        number = 1
        while f"{stem}-{number}" in self.runs or (self.settings.out / f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"
