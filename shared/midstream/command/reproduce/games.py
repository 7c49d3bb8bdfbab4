"""One game of a table: what was measured, where, and with which versions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from midstream.attacks.robustness import robustness
from midstream.command.results.results import PlayedTrial
from midstream.command.robustness import usual_radius
from midstream.command.runs.finished import finished, model_of
from midstream.command.sweep.trial import Trial
from midstream.run.batches import load_split
from midstream.run.datasets import Source
from midstream.run.environment import configure
from midstream.storage.run_files import read_object
from midstream.storage.run_folder import write_json

UNDER = "under_"
"""Prefix of the measures that are taken at test time: the accuracy under an attack of that name."""

_TEST_TIME = "robustness.json"
_MEASURED = ("test_accuracy", "validation_loss", "conversion_rate", "evasion_rate", "seconds", "steps")
_ENVIRONMENT = (
    "midstream",
    "python",
    "torch",
    "platform",
    "device",
    "device_name",
    "cpu_capability",
    "threads",
)


@dataclass(frozen=True)
class Game:
    """One finished game.

    Attributes:
        trial: its settings.
        values: what was measured at its end, by name; rates are shares in [0, 1].
        curve: the test accuracy, by step.
        parameters_sha256: the digest of its final parameters.
        environment: versions, device and threads.
        shipped: whether it is one of the results that ship with midstream.
    """

    trial: Trial
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]]
    parameters_sha256: str
    environment: Mapping[str, Any]
    shipped: bool = False

    @property
    def seconds_per_step(self) -> float:
        """Seconds of the whole game, divided by its steps."""
        return self.values["seconds"] / self.values["steps"]


def game_of(played: PlayedTrial) -> Game:
    """Return the game of a finished trial."""
    found = {name: played.outcome[name] for name in _MEASURED}
    attacked = played.folder / _TEST_TIME
    if attacked.exists():
        found |= read_object(attacked)
    environment = read_object(played.folder / "environment.json")
    return Game(
        played.trial,
        {name: float(value) for name, value in found.items() if value is not None},
        played.curve(),
        played.outcome["parameters_sha256"],
        {name: environment.get(name) for name in _ENVIRONMENT},
    )


def attack_at_test_time(played: PlayedTrial, source: Source, *, device: str, threads: int) -> None:
    """Measure a finished trial's accuracy under test-time attacks (Table A.8), unless its folder has it."""
    path = played.folder / _TEST_TIME
    if path.exists():
        return
    where = configure(threads=threads, device=device)
    run = finished(str(played.folder))
    digest = (run.environment or {}).get("dataset_sha256")
    split = load_split(played.trial.specification, source, dataset_sha256=digest)
    model = model_of(run, played.trial.specification, split).to(where)
    inputs, labels = split.test.inputs.to(where), split.test.labels.to(where)
    found = asdict(robustness(model, inputs, labels, epsilon=usual_radius(inputs.shape[1])))
    write_json(path, {f"{UNDER}{name}": found[name] for name in ("yopo", "pgd", "fgsm")})
