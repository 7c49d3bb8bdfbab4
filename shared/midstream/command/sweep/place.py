"""Where and how trials are played: what the machine decides and the result does not depend on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Place:
    """Where trials are played.

    Attributes:
        out: the results folder, which holds one run folder per trial.
        transport: `local` for one process per game, `http` for three.
        device: the torch device.
        threads: CPU threads of each game. One by default: then the bits do not depend on the workers.
        data_root: torchvision's data root.
        download: whether missing data may be downloaded.
        cache: cache folder of pretrained state.
    """

    out: Path
    transport: Literal["local", "http"] = "local"
    device: str = "auto"
    threads: int | None = 1
    data_root: Path | None = None
    download: bool = False
    cache: Path | None = None

    def document(self) -> dict[str, object]:
        """Return the place as JSON values.

        >>> Place.of(Place(Path("results/a")).document()) == Place(Path("results/a"))
        True
        """
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }

    @staticmethod
    def of(document: dict[str, Any]) -> "Place":
        """Return the place of a document."""
        paths = {name: Path(document[name]) for name in ("out", "data_root", "cache") if document[name]}
        return Place(**(document | paths))
