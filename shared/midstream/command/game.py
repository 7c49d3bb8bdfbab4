"""The plan of one game, used by `play` and `demo`: its settings, its files and its outcome."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from midstream import plugins
from midstream.errors import MidstreamError
from midstream.mathematics.budget import Budget
from midstream.protocol.specification import Specification
from midstream.storage.run_files import read_object
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_server.runs.provenance import SPECIFICATION, read_standing
from midstream_server.runs.resuming import is_left

Follow = Callable[[int, int, str], None]
"""Progress callback of a game: `(steps done, total steps, text)`."""


class GameError(MidstreamError, RuntimeError):
    """The game failed; the message names the process at fault."""


@dataclass(frozen=True)
class GamePlan:
    """All settings of one game.

    Attributes:
        specification: the run, including its name.
        attacker: the attacker's name and options.
        attack_budget: the attacker's budget; the defender's is in the specification.
        gradient: source of the attacker's validation gradient: `server`, or `own` for its own computation.
        surrogate: settings of the attacker's surrogate; used if the run is black-box.
        transport: `http` for three processes, `local` for one.
        out: parent of the run folder.
        data_root: torchvision's data root.
        download: whether missing data may be downloaded.
        device: the torch device to compute on.
        threads: CPU threads of each process; None for torch's default.
        signed: who signs the batches, if the server requires a signature: the `provider`, or the `attacker`,
            who then acts as the provider. None: no signature is required.
    """

    specification: Specification
    attacker: str
    attack_budget: Budget
    gradient: Literal["server", "own"] = "server"
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    transport: Literal["http", "local"] = "http"
    out: Path = Path("runs")
    data_root: Path | None = None
    download: bool = False
    device: str = "auto"
    threads: int | None = None
    signed: Literal["provider", "attacker"] | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        assert self.specification.name is not None
        return self.specification.name

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out / self.name

    @property
    def begun(self) -> bool:
        """Whether the run folder holds this game, unfinished.

        Raises:
            GameError: the folder holds a different unfinished game.
        """
        if not is_left(self.folder):
            return False
        stored = self.folder / SPECIFICATION
        try:
            was = read_object(stored) if stored.exists() else self._as_begun()
        except ValueError:
            return True  # the server reports what is wrong with it
        found = [
            f"{name} {was.get(name)}, here {value}"
            for name, value in self.specification.model_dump().items()
            if was.get(name) != value
        ]
        if found:
            raise GameError(
                f"{stored} belongs to a different unfinished game: {'; '.join(found)}. Use another --run"
            )
        return True

    def _as_begun(self) -> dict[str, Any]:
        standing = read_standing(self.folder)
        return {} if standing is None else standing.provenance.specification

    @property
    def allowed(self) -> frozenset[str]:
        """The plug-ins named in the specification. They are allowed because the user named them."""
        specification = self.specification
        named = (specification.dataset, specification.model, *plugins.members(specification.defender))
        return frozenset(text.partition(",")[0] for text in named)

    def write_scenario(self) -> None:
        """Write `scenario.yaml` into the run folder; `midstream play` repeats the game from it."""
        settings: dict[str, Any] = {
            "attacker": self.attacker,
            **self._attack_budget(),
            "gradient": self.gradient,
            "transport": self.transport,
            "signed": self.signed,
            "device": self.device,
            "threads": self.threads,
            "lr": self.specification.learning_rate,
            **self.specification.model_dump(exclude={"name", "learning_rate"}),
        }
        if self.specification.access == "black-box":
            settings |= self.surrogate_settings()
        if self.data_root is not None:
            settings["data-root"] = str(self.data_root)
        options = {key.replace("_", "-"): value for key, value in settings.items() if value is not None}
        text = yaml.safe_dump(options, sort_keys=False)
        (self.folder / "scenario.yaml").write_text(f"# midstream play {self.folder}/scenario.yaml\n{text}")

    def surrogate_settings(self) -> dict[str, Any]:
        """Return the surrogate's settings by option name."""
        chosen = self.surrogate
        return {
            "surrogate": chosen.model,
            "surrogate-epochs": chosen.epochs,
            "surrogate-train-size": chosen.train_size,
            "surrogate-seed": chosen.seed,
        }

    def outcome(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the object that `play --json` prints for a run's result."""
        return {
            "run": str(self.folder),
            "dataset": result["dataset"],
            "attacker": self.attacker,
            "defender": result["defender"],
            **self._attack_budget(),
            "access": self.specification.access,
            "epsilon": self.specification.epsilon,
            "norm": self.specification.norm,
            "pixel_range": self.specification.pixel_range,
            **{key: result[key] for key in ("seed", "steps", "epochs", "test_accuracy")},
            **{key: result[key] for key in ("validation_loss", "conversion_rate", "evasion_rate")},
            **{
                key: result[key] for key in ("passed_clean", "resumed_anyway", "parameters_sha256", "seconds")
            },
        }

    def _attack_budget(self) -> dict[str, Any]:
        return {"attack_epsilon": self.attack_budget.epsilon, "attack_norm": self.attack_budget.norm}


def free_name(out: Path, *parts: str) -> str:
    """Return a run name made of words, with a number appended if that folder exists.

    >>> free_name(Path("/nonexistent"), "folder:/data/Owls", "level-1,beta=0.9")
    'folder-data-owls-level-1-beta-0.9'
    """
    words = "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.") for part in parts)[:90]
    name, number = words, 1
    while (out / name).exists():
        number += 1
        name = f"{words}-{number}"
    return name
