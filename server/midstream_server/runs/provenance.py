"""What a run was begun with, kept in several places, so that none of them can change unnoticed."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from midstream.protocol.specification import Specification
from midstream.run.environment import describe
from midstream.storage.run_folder import OPEN
from midstream.storage.seal import BrokenSealError, digest, sealed, unsealed
from midstream_server.runs.training import TrainingRun

SPECIFICATION = "specification.json"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Provenance:
    """What a run was begun with.

    The journal, every checkpoint and the file `open` carry it under a checksum each;
    `specification.json` and `environment.json` are held against it whenever the run is taken up.

    Attributes:
        run: the run's identity, which tells it from another of its name.
        specification: what is trained, as JSON holds it.
        environment: versions, device, thread count, data set and order of derivatives at the beginning.
        resumed_with: the differences from it that `--resume-anyway` let pass, in order.
    """

    run: str
    specification: dict[str, Any]
    environment: dict[str, Any]
    resumed_with: list[list[str]]

    @classmethod
    def of(cls, run: TrainingRun) -> "Provenance":
        """Return the provenance of a run that begins here and now."""
        return cls(uuid4().hex, run.specification.model_dump(mode="json"), environment_of(run), [])

    def passed(self, found: list[str]) -> "Provenance":
        """Return it with differences that were let pass."""
        if found in self.resumed_with:
            return self
        return replace(self, resumed_with=[*self.resumed_with, found])

    def trained(self) -> Specification:
        """Return what is trained."""
        return Specification.model_validate(self.specification)

    def files(self) -> dict[str, dict[str, Any]]:
        """Return what the run folder's files of it hold, by name, in the order that they are written in."""
        passed = {"resumed_with": self.resumed_with} if self.resumed_with else {}
        return {
            ENVIRONMENT: {"run": self.run, **self.environment, **passed},
            SPECIFICATION: self.specification,
        }

    def digests(self) -> dict[str, str]:
        """Return the digest of each of those files' content."""
        return {name: digest(content) for name, content in self.files().items()}

    def written(self) -> str:
        """Return it as text that `read` understands."""
        return json.dumps(sealed(asdict(self)))

    @classmethod
    def read(cls, text: str) -> "Provenance":
        """Return what `written` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(**unsealed(json.loads(text)))
        except (TypeError, RecursionError) as error:
            raise BrokenSealError(str(error)) from error


@dataclass(frozen=True)
class Standing:
    """What the file `open` says of a run that a server is not done with.

    Attributes:
        provenance: what it was begun with.
        state: what its operator made of it, `paused` or `stopped`; None where nothing.
        reason: why it is stopped.
    """

    provenance: Provenance
    state: str | None = None
    reason: str | None = None

    def written(self) -> dict[str, Any]:
        """Return it as JSON."""
        own = {"provenance": asdict(self.provenance), "state": self.state, "reason": self.reason}
        return sealed(own)


def environment_of(run: TrainingRun) -> dict[str, Any]:
    """Return what the bits of a run depend on besides its specification, as it is here and now."""
    return {**describe(run.device), "dataset_sha256": run.dataset_sha256, "derivatives": run.order}


def read_standing(folder: Path) -> Standing | None:
    """Return what the file `open` of a run folder says; None where it is not there.

    Raises:
        ValueError: it is not what was written there.
    """
    path = folder / OPEN
    if not path.exists():
        return None
    content = unsealed(json.loads(path.read_text(encoding="utf-8")))
    return Standing(Provenance(**content.pop("provenance")), **content)
