"""Runs of an earlier server that cannot be resumed, each with the reason."""

import json
from dataclasses import dataclass
from pathlib import Path

from midstream.protocol.messages.runs import PassedClean, ResumedAnyway, Status
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream_server.runs.recovery.provenance import SPECIFICATION, Provenance, read_standing
from midstream_server.runs.recovery.resuming import Recovered


@dataclass(frozen=True)
class SetAside:
    """A run that cannot be resumed; its files stay unchanged.

    Attributes:
        name: the run's name.
        reason: why it cannot be resumed.
        identity: the run's unique identifier; empty if no file holds it.
        specification: the run's specification; None if no file holds it.
    """

    name: str
    reason: str
    identity: str
    specification: Specification | None

    @classmethod
    def of(cls, folder: Path, error: Exception, found: Recovered | None) -> "SetAside":
        """Return the run in a folder that could not be resumed because of an error."""
        provenance = _provenance(folder) if found is None else found.provenance
        said = None if provenance is None else provenance.specification
        identity = "" if provenance is None else provenance.run
        return cls(folder.name, _words(error), identity, _specification(folder, said))

    @property
    def sentence(self) -> str:
        """A sentence that names the run and the reason."""
        return f"run {self.name!r} is set aside: {self.reason}"

    def is_what(self, wanted: Specification) -> bool:
        """Return whether this is the wanted run, by name or, without a name, by specification."""
        if wanted.name is not None:
            return wanted.name == self.name
        return (
            self.specification is not None and self.specification.model_copy(update={"name": None}) == wanted
        )

    def status(self) -> Status | None:
        """Return the run's status; None if no file holds the specification."""
        if self.specification is None:
            return None
        return Status(
            name=self.name,
            id=self.identity,
            state="failed",
            reason=self.sentence,
            waiting_for=None,
            step=0,
            total_steps=0,
            epoch=0,
            steps_per_epoch=1,
            train_size=0,
            dataset_sha256=None,
            loss=None,
            test_accuracy=None,
            test_loss=None,
            validation_accuracy=None,
            validation_loss=None,
            conversion_rate=None,
            evasion_rate=None,
            passed_clean=PassedClean(attacker=0, defender=0),
            resumed_anyway=ResumedAnyway(attacker=0),
            steps_per_second=None,
            seconds_left=None,
            attacker=None,
            samples=[],
            result=None,
            specification=self.specification.public(),
        )


def _provenance(folder: Path) -> Provenance | None:
    try:
        standing = read_standing(folder)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return None if standing is None else standing.provenance


def _specification(folder: Path, said: dict[str, object] | None) -> Specification | None:
    try:
        content = said or json.loads((folder / SPECIFICATION).read_text(encoding="utf-8"))
        return Specification.model_validate(content)
    except (OSError, ValueError, RecursionError):
        return None


def _words(error: Exception) -> str:
    if isinstance(error, Problem):
        return f"{error.title}: {error.detail}"
    ours = type(error).__module__.startswith("midstream") or isinstance(error, OSError | ValueError)
    return str(error) if ours else f"{type(error).__name__}: {error}"
