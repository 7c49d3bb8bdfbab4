"""Inspection of a run folder before a resume: which files are intact, and which run they belong to."""

import json
from pathlib import Path

from midstream.errors import MidstreamError
from midstream.storage.run_folder import METRICS, OPEN, metrics_sha256
from midstream.storage.sqlite import DamagedDatabaseError
from midstream_server.runs.recovery.checkpoint import (
    NEWEST,
    OLDER,
    Checkpoint,
    DamagedCheckpointError,
    read_checkpoint,
)
from midstream_server.runs.recovery.journal import Journal
from midstream_server.runs.recovery.provenance import ENVIRONMENT, Provenance, Standing, read_standing

JOURNAL = "journal.sqlite"


class ResumeError(MidstreamError, RuntimeError):
    """A run cannot be resumed; the message says why, and what to do."""


class Left:
    """The files that an earlier server left of a run.

    Args:
        folder: the run's folder.

    Raises:
        midstream.storage.sqlite.StorageError: the journal cannot be opened, or another server has it open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, str] = {}
        """What is wrong with each faulty file, by file name."""
        self.standing = self._standing()
        self._journal = self._open_journal()
        self._checkpoints = {name: self._checkpoint(name) for name in (NEWEST, OLDER)}

    @property
    def journal(self) -> Journal | None:
        """The journal, or None if it is damaged or belongs to another run."""
        return None if JOURNAL in self.faults else self._journal

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def provenance(self) -> Provenance:
        """Return the run's provenance, and record a fault for each file that belongs to another run.

        Raises:
            ResumeError: no file holds the provenance, or `environment.json` names another run.
        """
        carriers = {OPEN: self.standing, JOURNAL: self._journal, **self._checkpoints}
        known = {name: it.provenance for name, it in carriers.items() if it and it.provenance}
        if not known:
            why = self.why("none of its files holds an intact record of what the run was started with")
            raise ResumeError(
                f"{why}. If an earlier midstream started the run, finish it with that one; otherwise it is "
                f"lost: start a new run under another name"
            )
        named = self._named()
        run = next((found.run for found in known.values() if named in (None, found.run)), None)
        if run is None:
            others = ", ".join(f"{name} belongs to {found.run}" for name, found in known.items())
            raise ResumeError(
                f"{self.folder / ENVIRONMENT} says that this is run {named}, but {others}. Restore the file, "
                f"or delete it: the server then writes it again"
            )
        for name, found in known.items():
            if found.run != run:
                self.faults[name] = f"{self.folder / name} belongs to another run, {found.run}"
        return max((found for found in known.values() if found.run == run), key=_let_pass)

    def checkpoint(self) -> Checkpoint | None:
        """Return this run's newest intact checkpoint whose records are present, or None.

        A checkpoint whose records are missing gets a fault.
        """
        for name, found in self._checkpoints.items():
            if found is None or name in self.faults:
                continue
            if metrics_sha256(self.folder, found.history["metrics_bytes"]) == found.history["metrics_sha256"]:
                return found
            self.faults[name] = (
                f"{self.folder / METRICS} has changed since {name} was written at step {found.step}"
            )
        return None

    def why(self, text: str) -> str:
        """Return all faults, followed by `text`."""
        return "; ".join([*self.faults.values(), text])

    def _named(self) -> str | None:
        try:
            content = json.loads((self.folder / ENVIRONMENT).read_text(encoding="utf-8"))
            return str(content["run"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None  # `files_gone` reports this when it compares the file with the provenance

    def _standing(self) -> Standing | None:
        try:
            found = read_standing(self.folder)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            self.faults[OPEN] = f"{self.folder / OPEN} is damaged: {error}"
            return None
        if found is None:
            self.faults[OPEN] = f"{self.folder / OPEN} is missing"
        return found

    def _open_journal(self) -> Journal | None:
        path = self.folder / JOURNAL
        if not path.exists():
            self.faults[JOURNAL] = f"{path} is missing"
            return None
        try:
            return Journal(path)
        except DamagedDatabaseError as error:
            self.faults[JOURNAL] = str(error)
            return None

    def _checkpoint(self, name: str) -> Checkpoint | None:
        try:
            return read_checkpoint(self.folder / name)
        except DamagedCheckpointError as error:
            self.faults[name] = str(error)
            return None


def _let_pass(provenance: Provenance) -> int:
    return len(provenance.resumed_with)
