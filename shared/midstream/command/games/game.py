"""The plan of one game, used by `play` and `demo`: its settings, its files and its outcome."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from midstream import plugins
from midstream.command.api.result import GameResult
from midstream.command.games.plugin_files import PLUGINS, edited, plugin_files
from midstream.console.scenario import read_values
from midstream.errors import MidstreamError
from midstream.mathematics.budget import Budget
from midstream.players.checking import Gate
from midstream.players.interface import Player
from midstream.protocol.specification import Specification
from midstream.run.process.precisions import Precision
from midstream.storage.run_files import read_object
from midstream.storage.run_folder import holds_run, write_json, write_whole
from midstream.tasks.words import headline
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_server.runs.recovery.provenance import SPECIFICATION, read_standing
from midstream_server.runs.recovery.resuming import is_left

Follow = Callable[[int, int, str], None]
"""Progress callback of a game: `(steps done, total steps, text)`."""


class GameError(MidstreamError, RuntimeError):
    """A game failed or cannot be played in its folder; the message says why."""


@contextmanager
def as_game_errors() -> Iterator[None]:
    """Turn errors of the machine and of values, which the command prints as sentences, into GameError."""
    try:
        yield
    except MidstreamError:
        raise
    except (OSError, ValueError) as error:
        raise GameError(str(error)) from error


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
        precision: what each process computes its derivatives and steps in.
        signed: who signs the batches, if the server requires a signature: the `provider`, or the `attacker`,
            who then acts as the provider. None: no signature is required.
        attacking: the attacker itself, for a game in this process; None makes the one that `attacker` names.
        defending: the defender itself, for a game in this process; None makes the one that is named.
        checking: the checker itself and its action, likewise.
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
    precision: Precision = "float32"
    signed: Literal["provider", "attacker"] | None = None
    attacking: Player | None = field(default=None, repr=False)
    defending: Player | None = field(default=None, repr=False)
    checking: Gate | None = field(default=None, repr=False)

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
            return True  # whoever resumes the run reports what is wrong with it
        if found := self._differences(was, transport=self.transport):
            raise GameError(
                f"{stored} belongs to a different unfinished game: {'; '.join(found)}. Use another --run"
            )
        return True

    def refuse_taken(self) -> None:
        """Refuse a folder that holds a run which cannot go on.

        Raises:
            GameError: the folder holds a finished run.
        """
        if not self.begun and (found := holds_run(self.folder)) is not None:
            raise GameError(f"{self.folder} already holds a run ({found}); choose another --run or --out")

    def finished(self) -> GameResult | None:
        """Return the result of this game if the run folder holds it, played to its end; else None.

        Raises:
            GameError: the folder holds the result of a different game, or of an unknown attacker.
            midstream.storage.run_files.DamagedRunError: one of its files cannot be read.
            ValueError: one of its files was altered after the game finished.
        """
        if is_left(self.folder) or not (self.folder / "result.json").exists():
            return None
        result = GameResult.load(self.folder)
        if result.attacker is None:
            raise GameError(
                f"{self.folder} holds a finished run that 'play' did not run: its attacker is unknown. Use "
                f"another --run"
            )
        if found := self._differences(read_object(self.folder / SPECIFICATION), precision=self.precision):
            raise GameError(
                f"{self.folder} holds the result of a different game: {'; '.join(found)}. Use another --run"
            )
        return result

    def _differences(self, was: Mapping[str, object], **how: str) -> list[str]:
        """Describe where this game differs from the one that its folder holds.

        Args:
            was: the specification of the game in the folder.
            how: further options of `scenario.yaml` that must agree.
        """
        wanted = dict(self.specification.model_dump())
        scenario = self.folder / "scenario.yaml"
        if scenario.exists():
            began, attack = {"precision": "float32", **read_values(scenario)}, self._attack() | how
            was = {**was, **{name: began.get(name) for name in attack}}
            wanted |= attack
        return [
            f"{name} {was.get(name)}, here {value}"
            for name, value in wanted.items()
            if was.get(name) != value
        ] + edited(self.folder, self.plugin_files)

    @property
    def plugin_files(self) -> dict[str, str]:
        """The SHA-256 of each file that the game's plug-ins are read from, by the name of the plug-in."""
        surrogate = self.surrogate.model if self.specification.access == "black-box" else None
        return plugin_files(self.specification, self.attacker, surrogate)

    def _attack(self) -> dict[str, object]:
        """Return what the attacker's moves depend on besides the specification, by option name."""
        budget = {name.replace("_", "-"): value for name, value in self._attack_budget().items()}
        surrogate = self.surrogate_settings() if self.specification.access == "black-box" else {}
        return {"attacker": self.attacker, **budget, **surrogate}

    def _as_begun(self) -> dict[str, object]:
        standing = read_standing(self.folder)
        return {} if standing is None else standing.provenance.specification

    @property
    def allowed(self) -> frozenset[str]:
        """The plug-ins named in the specification. They are allowed because the user named them."""
        specification = self.specification
        named = [specification.dataset, specification.model, specification.optimizer]
        named += plugins.members(specification.defender)
        named += [one for one in (specification.checker, specification.loss) if one is not None]
        return frozenset(one for text in named for one in plugins.permitted(text))

    def write_scenario(self) -> None:
        """Write `scenario.yaml`, which repeats the game, and the digests of its plug-ins."""
        settings: dict[str, Any] = {
            "attacker": self.attacker,
            **self._attack_budget(),
            "gradient": self.gradient,
            "transport": self.transport,
            "signed": self.signed,
            "device": self.device,
            "threads": self.threads,
            "precision": self.precision,
            "lr": self.specification.learning_rate,
            **self.specification.model_dump(exclude={"name", "learning_rate"}),
        }
        if self.specification.access == "black-box":
            settings |= self.surrogate_settings()
        if self.data_root is not None:
            settings["data-root"] = str(self.data_root)
        options = {key.replace("_", "-"): value for key, value in settings.items() if value is not None}
        text = yaml.safe_dump(options, sort_keys=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        content = f"# midstream play {self.folder}/scenario.yaml\n{text}".encode()
        write_whole(self.folder / "scenario.yaml", content)
        if files := self.plugin_files:
            write_json(self.folder / PLUGINS, files)

    def surrogate_settings(self) -> dict[str, object]:
        """Return the surrogate's settings by option name."""
        chosen = self.surrogate
        return {
            "surrogate": chosen.model,
            "surrogate-epochs": chosen.epochs,
            "surrogate-train-size": chosen.train_size,
            "surrogate-seed": chosen.seed,
        }

    def outcome(self, result: Mapping[str, object]) -> GameResult:
        """Return the game's result.

        Args:
            result: the run's result, as in its `result.json`.
        """
        attack = {"attacker": self.attacker, **self._attack_budget()}
        return GameResult.of(self.folder, self.specification.model_dump(), result, attack)

    def _attack_budget(self) -> dict[str, object]:
        return {"attack_epsilon": self.attack_budget.epsilon, "attack_norm": self.attack_budget.norm}


def progress_text(epoch: int, loss: float, measures: Mapping[str, float | None]) -> str:
    """Return the text that follows the progress bar; epochs are counted from 0.

    >>> progress_text(0, 2.25, {"test_accuracy": 0.5})
    'epoch 1, loss 2.250, test accuracy 0.500'
    """
    found = headline(measures)
    return f"epoch {epoch + 1}, loss {loss:.3f}" + (f", {found[0]} {found[1]:.3f}" if found else "")
