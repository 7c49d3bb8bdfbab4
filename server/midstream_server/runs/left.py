"""What is left in a run folder, before anything in it is touched: which files are whole, and of which run."""

import json
from pathlib import Path

from midstream.errors import MidstreamError
from midstream.storage.run_folder import METRICS, OPEN, metrics_sha256
from midstream.storage.sqlite import DamagedDatabaseError
from midstream_server.runs.checkpoint import (
    NEWEST,
    OLDER,
    Checkpoint,
    DamagedCheckpointError,
    read_checkpoint,
)
from midstream_server.runs.journal import Journal
from midstream_server.runs.provenance import ENVIRONMENT, Provenance, Standing, read_standing

JOURNAL = "journal.sqlite"


class ResumeError(MidstreamError, RuntimeError):
    """A run cannot go on; the message says why, and what to do."""


class Left:
    """What a server left behind of a run.

    Args:
        folder: the run's.

    Raises:
        midstream.storage.sqlite.StorageError: the journal cannot be opened, or another server has it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, str] = {}
        """What is wrong with a file, by its name."""
        self.standing = self._standing()
        self._journal = self._open_journal()
        self._checkpoints = {name: self._checkpoint(name) for name in (NEWEST, OLDER)}

    @property
    def journal(self) -> Journal | None:
        """The journal, where it is whole and this run's."""
        return None if JOURNAL in self.faults else self._journal

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def provenance(self) -> Provenance:
        """Return what the run was begun with; what is of another run has a fault from here on.

        Raises:
            ResumeError: no file says it, or `environment.json` says that it is another run.
        """
        carriers = {OPEN: self.standing, JOURNAL: self._journal, **self._checkpoints}
        known = {name: it.provenance for name, it in carriers.items() if it and it.provenance}
        if not known:
            why = self.why("none of its files says whole what it was begun with")
            raise ResumeError(
                f"{why}. It was begun by an earlier midstream, which finishes it, or it is lost: start a new "
                f"run, by another name"
            )
        named = self._named()
        run = next((found.run for found in known.values() if named in (None, found.run)), None)
        if run is None:
            others = ", ".join(f"{name} is of {found.run}" for name, found in known.items())
            raise ResumeError(
                f"{self.folder / ENVIRONMENT} says that this is run {named}, but {others}. Put the file back "
                f"as it was, or delete it: it is then written again"
            )
        for name, found in known.items():
            if found.run != run:
                self.faults[name] = f"{self.folder / name} is of another run, {found.run}"
        return max((found for found in known.values() if found.run == run), key=_let_pass)

    def checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, this run's, and has its records; None where none is.

        One whose records are not there has a fault from here on.
        """
        for name, found in self._checkpoints.items():
            if found is None or name in self.faults:
                continue
            if metrics_sha256(self.folder, found.history["metrics_bytes"]) == found.history["metrics_sha256"]:
                return found
            self.faults[name] = (
                f"{self.folder / METRICS} does not hold what was written there before step {found.step}, "
                f"where {name} was written"
            )
        return None

    def why(self, text: str) -> str:
        """Return a sentence with all that is wrong before it."""
        return "; ".join([*self.faults.values(), text])

    def _named(self) -> str | None:
        try:
            content = json.loads((self.folder / ENVIRONMENT).read_text(encoding="utf-8"))
            return str(content["run"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None  # that is said where the file is held against the provenance

    def _standing(self) -> Standing | None:
        try:
            found = read_standing(self.folder)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            self.faults[OPEN] = f"{self.folder / OPEN} does not hold what was written there: {error}"
            return None
        if found is None:
            self.faults[OPEN] = f"{self.folder / OPEN} is gone"
        return found

    def _open_journal(self) -> Journal | None:
        path = self.folder / JOURNAL
        if not path.exists():
            self.faults[JOURNAL] = f"{path} is gone"
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
