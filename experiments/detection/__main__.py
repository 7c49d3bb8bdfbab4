"""`python -m experiments.detection`: every checker against every attack, on digits.

A game that the results file holds is not played again, so the command may be stopped at any time. It prints
the tables of all games so far. With `--others`, the detectors of the Adversarial Robustness Toolbox and the
defenders of niteshade judge the same recorded batches, where these packages are installed.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
from pathlib import Path

import click

from experiments.detection import others, tables
from experiments.detection.judging import play
from experiments.detection.recording import read, recorded
from experiments.versions import versions
from midstream.storage.lines import lines

ATTACKERS = (
    "none",
    "level-1,beta=0",
    "pgd",
    "deep-confuse,trials=5",
    "evoshift",
    "lsp",
    "noise",
    "label-flip",
)
RESULTS = Path(__file__).parents[1] / "results/detection-digits.jsonl"


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, show_default="in experiments/results"
)
@click.option("--recordings", type=click.Path(path_type=Path), help="Folder for the recorded batches.")
@click.option(
    "--others", "ask_others", is_flag=True, help="Have other projects' detectors judge the recordings."
)
@click.option("--attacker", "attackers", multiple=True, default=ATTACKERS, show_default=True)
@click.option("--fraction", default=0.33, show_default=True)
@click.option("--epochs", default=6, show_default=True)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
def main(
    results: Path,
    recordings: Path | None,
    ask_others: bool,
    attackers: tuple[str, ...],
    fraction: float,
    epochs: int,
    seeds: tuple[int, ...],
) -> None:
    """Play the games that the results file lacks, and print the tables."""
    if ask_others and recordings is None:
        raise click.UsageError("--others judges recorded batches: name their folder with --recordings")
    games = {(game["attacker"], game["seed"]): game for game in lines(results)}
    for seed in seeds:
        for attacker in attackers:
            file = None if recordings is None else recorded(recordings, attacker, seed)
            game = games.get((attacker, seed))
            if game is None or (ask_others and file is not None and not file.is_file()):
                figures, recording = play(attacker, seed, fraction=fraction, epochs=epochs)
                struck = sorted(set(recording.step[recording.attacked].tolist()))
                more = {"others": game["others"]} if game and "others" in game else {}
                game = {
                    "attacker": attacker,
                    "seed": seed,
                    "attacked": struck,
                    **figures,
                    "versions": versions(),
                } | more
                if file is not None:
                    recording.write(file)
            if ask_others and file is not None and attacker != tables.CLEAN:
                judged = others.judge(read(file), seed=seed, known=game.get("others", {}))
                game = {**game, "others": judged}
            if game is not games.get((attacker, seed)):
                games[attacker, seed] = game
                results.parent.mkdir(parents=True, exist_ok=True)
                whole = results.with_suffix(".new")
                whole.write_text("".join(json.dumps(one) + "\n" for one in games.values()), encoding="utf-8")
                whole.replace(results)
                click.echo(f"{attacker}, seed {seed}", err=True)
    for heading, table in tables.pages(list(games.values())):
        click.echo(f"\n{heading}:\n\n{table}")


if __name__ == "__main__":
    main()
