"""`python -m experiments.detection`: how well each checker finds the attacked examples of each attack.

A checker that only flags changes no bit of a game, so each game is judged by all checkers at once. The scores
are those that `midstream sweep experiments/grids/checkers-digits.yaml` finds with one game for each checker.
A game that was played is read from the results file; the tables of all games so far are printed.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch

import midstream
from midstream import Batch, Gate, Suspicion, View, plugins
from midstream.command.runs.detection import auc, true_positives
from midstream.storage.attacked import attacked, truth_file
from midstream.storage.lines import append_line, lines

ATTACKERS = ("level-1,beta=0", "noise", "label-flip", "pgd", "evoshift", "deep-confuse,trials=5")
SCORES = ("auc", "true_positives_at_5", "false_alarms", "detected_after")


class All:
    """Every checker by name, asked one after the other; it suspects nobody itself."""

    def __init__(self, names: Sequence[str]) -> None:
        self.gates: dict[str, Gate] = {name: plugins.make_gate(name) for name in names}
        self.parts = tuple(gate.checker for gate in self.gates.values())
        self.found: dict[str, list[Any]] = {name: [] for name in names}

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Ask every checker."""
        for name, gate in self.gates.items():
            self.found[name].append(gate.inspect(batch, view))
        return Suspicion(torch.zeros(len(batch.labels)), torch.tensor(0.0))


def play(attacker: str, fraction: float, seed: int, **settings: Any) -> dict[str, Any]:
    """Play one game; return its accuracy, and each checker's scores by name."""
    everyone = All(plugins.names("checkers"))
    text = "none" if attacker == "none" else f"{attacker},fraction={fraction}"
    with TemporaryDirectory() as out:
        result = midstream.play(
            attacker=text,
            seed=seed,
            checker=everyone,
            out=out,
            run="game",
            threads=1,
            device="cpu",
            follow=lambda *_: None,
            **settings,
        )
        altered = attacked(truth_file(result.folder, "game"))
    found: dict[str, Any] = {"accuracy": result.test_accuracy, "sha256": result.parameters_sha256}
    for name, judged in everyone.found.items():
        suspicion = np.array([one for finding in judged for one in finding.examples])
        truth = np.array(
            [
                place in altered.get(seq, ())
                for seq, finding in enumerate(judged)
                for place in range(len(finding.examples))
            ]
        )
        hit = [seq for seq, finding in enumerate(judged) if finding.alarm and altered.get(seq)]
        first = [seq for seq in range(len(judged)) if altered.get(seq)]
        found[name] = {
            "auc": auc(suspicion[truth], suspicion[~truth]) if truth.any() else None,
            "true_positives_at_5": true_positives(suspicion[truth], suspicion[~truth])
            if truth.any()
            else None,
            "false_alarms": float((suspicion[~truth] > everyone.gates[name].threshold).mean()),
            "detected_after": 1 + hit[0] - first[0] if hit else None,
            "alarms": sum(finding.alarm for finding in judged),
        }
    return found


def table(games: Sequence[dict[str, Any]], score: str) -> str:
    """Return one score as a Markdown table: mean ± sample deviation over the seeds, with the best in bold."""
    attackers = list(dict.fromkeys(game["attacker"] for game in games))
    names = plugins.names("checkers")
    rows = ["| checker | " + " | ".join(attackers) + " |", "|---" * (1 + len(attackers)) + "|"]
    cells: dict[tuple[str, str], list[float]] = {}
    for game in games:
        for name in names:
            if (value := game["found"][name][score]) is not None:
                cells.setdefault((name, game["attacker"]), []).append(value)
    for name in names:
        texts = [_cell(cells.get((name, attacker), [])) for attacker in attackers]
        rows.append(f"| `{name}` | " + " | ".join(texts) + " |")
    return "\n".join(rows)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("detection.jsonl"), show_default=True
)
@click.option("--attacker", "attackers", multiple=True, default=ATTACKERS, show_default=True)
@click.option("--fraction", default=0.33, show_default=True)
@click.option("--epochs", default=6, show_default=True)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
def main(
    results: Path, attackers: tuple[str, ...], fraction: float, epochs: int, seeds: tuple[int, ...]
) -> None:
    """Play the games that the results file lacks, and print the tables."""
    games = list(lines(results))
    known = {(game["attacker"], game["seed"]) for game in games}
    for seed in seeds:
        for attacker in attackers:
            if (attacker, seed) not in known:
                found = play(attacker, fraction, seed, dataset="digits", epochs=epochs)
                game = {"attacker": attacker, "seed": seed, "found": found}
                append_line(results, game)
                games.append(game)
                click.echo(json.dumps(game), err=True)
    for score in SCORES:
        click.echo(f"\n{score}\n\n{table(games, score)}")


if __name__ == "__main__":
    main()
