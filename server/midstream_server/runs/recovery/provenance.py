"""Provenance of a run, stored in several files so that a change to any of them is noticed."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from midstream.protocol.specification import Specification
from midstream.run.augmentation import torchvision_version
from midstream.run.process.environment import describe, library_versions
from midstream.storage.run_folder import OPEN
from midstream.storage.seal import BrokenSealError, digest, sealed, unsealed
from midstream_server.runs.training import TrainingRun

SPECIFICATION = "specification.json"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Provenance:
    """What a run was started with: its identity, its specification and its environment.

    The journal, every checkpoint and the file `open` each hold a copy with a checksum. A resume compares
    `specification.json` and `environment.json` with it.

    Attributes:
        run: the run's identity, which distinguishes it from other runs of the same name.
        specification: the specification, as JSON values.
        environment: versions, device, thread count, data set and order of derivatives at the start.
        resumed_with: the differences from that environment that `--resume-anyway` accepted, in order.
    """

    run: str
    specification: dict[str, Any]
    environment: dict[str, Any]
    resumed_with: list[list[str]]

    @classmethod
    def of(cls, run: TrainingRun) -> "Provenance":
        """Return the provenance of a run that starts here and now."""
        return cls(uuid4().hex, run.specification.model_dump(mode="json"), environment_of(run), [])

    def passed(self, found: list[str]) -> "Provenance":
        """Return a copy that records accepted differences."""
        if found in self.resumed_with:
            return self
        return replace(self, resumed_with=[*self.resumed_with, found])

    def trained(self) -> Specification:
        """Return the specification as an object."""
        return Specification.model_validate(self.specification)

    def files(self) -> dict[str, dict[str, object]]:
        """Return the contents of the run folder's provenance files, by name, in the order of writing."""
        passed = {"resumed_with": self.resumed_with} if self.resumed_with else {}
        return {
            ENVIRONMENT: {"run": self.run, **self.environment, **passed},
            SPECIFICATION: self.specification,
        }

    def digests(self) -> dict[str, str]:
        """Return the digest of each of those files' contents."""
        return {name: digest(content) for name, content in self.files().items()}

    def written(self) -> str:
        """Return the provenance as text for `read`."""
        return json.dumps(sealed(asdict(self)))

    @classmethod
    def read(cls, text: str) -> "Provenance":
        """Return the provenance that `written` encoded.

        Raises:
            ValueError: the text is damaged.
        """
        try:
            return cls(**unsealed(json.loads(text)))
        except (TypeError, RecursionError) as error:
            raise BrokenSealError(str(error)) from error


@dataclass(frozen=True)
class Standing:
    """The content of the file `open`, which marks a run that is not over.

    Attributes:
        provenance: what the run was started with.
        state: the state that the operator set, `paused` or `stopped`, or None.
        reason: why the run is stopped.
    """

    provenance: Provenance
    state: str | None = None
    reason: str | None = None

    def written(self) -> dict[str, object]:
        """Return the content as JSON values."""
        own = {"provenance": asdict(self.provenance), "state": self.state, "reason": self.reason}
        return sealed(own)


def environment_of(run: TrainingRun) -> dict[str, object]:
    """Return everything besides the specification that a run's bits depend on, as it is here and now."""
    transforms = {"torchvision": torchvision_version()} if run.specification.augment else {}
    return {
        **describe(run.device),
        **transforms,
        **library_versions(run.specification.model),
        "dataset_sha256": run.dataset_sha256,
        "derivatives": run.order,
        "chunk_size": run.chunk_size,
    }


def read_standing(folder: Path) -> Standing | None:
    """Return the content of the file `open` in a run folder, or None if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / OPEN
    if not path.exists():
        return None
    content = unsealed(json.loads(path.read_text(encoding="utf-8")))
    return Standing(Provenance(**content.pop("provenance")), **content)
