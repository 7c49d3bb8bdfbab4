"""Plays the games that are missing, and reads those that were played here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from midstream.attacks.robustness import robustness
from midstream.command.reproduce.cells import Cell
from midstream.command.reproduce.games import UNDER, Game
from midstream.command.results.played_trial import PlayedTrial
from midstream.command.results.reading import gathered
from midstream.command.results.results import Results
from midstream.command.results.results_folder import outcome_of
from midstream.command.robustness import usual_radius
from midstream.command.runs.finished import finished, model_of
from midstream.command.sweep.place import Place
from midstream.command.sweep.sweeping import play_trials
from midstream.command.sweep.trial import Trial
from midstream.run.batches import load_split
from midstream.run.datasets import Source
from midstream.run.process.environment import configure
from midstream.storage.run_files import read_object
from midstream.storage.run_folder import write_json

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


def played_games(
    cells: Sequence[Cell],
    place: Place,
    shipped: Mapping[str, Game],
    *,
    play: bool,
    workers: int,
    hours: float | None,
) -> tuple[dict[str, Game], Mapping[str, str]]:
    """Return the games that were played here, after playing those that are missing; and why others failed.

    Args:
        cells: the cells.
        place: the results folder, and how games are played.
        shipped: the games that need not be played, by name.
        play: whether to play what is missing.
        workers: number of games that are played at once.
        hours: stop after this time; None to play everything.
    """
    wanted: dict[str, Trial] = {}
    for cell in cells:
        for trial in cell.trials:
            ships = trial.name in shipped and cell.measure in shipped[trial.name].values
            # A game that was played here is shown, so what the cell measures is measured of that one.
            if not ships or outcome_of(trial, place.out) is not None:
                wanted[trial.name] = trial
    trials = _in_turn(cells, wanted)
    if play and trials:
        results = play_trials(trials, place, workers=workers, hours=hours)
        _attack(cells, results, place)
    here = gathered([trial for cell in cells for trial in cell.trials], [place.out])
    return {one.trial.name: game_of(one) for one in here.trials}, here.failed


def _in_turn(cells: Sequence[Cell], wanted: Mapping[str, Trial]) -> list[Trial]:
    """Return trials in the order in which they are played.

    Every cell is played with the first seed before any is played with the second: a stop then leaves a whole
    table of fewer seeds. Columns come one after the other: games that share a pretrained attacker are then
    rarely played at once, when each would pretrain its own.
    """
    columns = {trial.name: _column_of(cell) for cell in reversed(cells) for trial in cell.trials}
    return sorted(wanted.values(), key=lambda trial: (trial.specification.seed, columns[trial.name]))


def _column_of(cell: Cell) -> int:
    """Return the index of a cell's column in its panel."""
    return list(cell.panel.columns).index(cell.column)


def _attack(cells: Sequence[Cell], results: Results, place: Place) -> None:
    """Measure what some cells show of finished models."""
    attacked = {trial.name for cell in cells if cell.measure.startswith(UNDER) for trial in cell.trials}
    source = Source(place.data_root, place.download)
    for played in results.trials:
        if played.trial.name in attacked:
            attack_at_test_time(played, source, device=place.device, threads=place.threads or 1)


def game_of(played: PlayedTrial) -> Game:
    """Return the game of a finished trial."""
    found = {name: played.outcome[name] for name in _MEASURED}
    attacked = played.folder / _TEST_TIME
    if attacked.exists():
        found |= read_object(attacked)
    environment = read_object(played.folder / "environment.json")
    return Game(
        played.trial.document(),
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
