"""Figure 6: level 2, optimal contraction and influence compared, on few digits and small models."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from midstream.command.figures.files import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    VERMILLION,
    blank,
    figure_options,
    write,
)
from midstream.command.figures.second_order_games import (
    ATTACKERS,
    GAMES,
    Point,
    armed,
    play,
    specify,
    summary,
    thinned,
)
from midstream.console import options
from midstream.console.process_options import data_options
from midstream.console.progress import Progress
from midstream.run.batches import load_split
from midstream.run.datasets import Source

# Label, colour, marker.
_STYLES = {
    "none": ("no attack", BLACK, "."),
    "level-1": ("level 1", ORANGE, "v"),
    "level-2-closed-form": ("level 2 (Theorem 2)", VERMILLION, "o"),
    "optimal-contraction": ("OC (Corollary 1)", BLUE, "s"),
    "influence": ("IF (eq. 8)", GREEN, "^"),
}


@click.command("6")
@figure_options
@data_options
@options.option("--runs", type=click.IntRange(2), default=10, show_default=True, help="Seeds per curve.")
@options.option("--epochs", type=click.IntRange(1), help="Epochs of each game; 120, 40 and 60 by default.")
@options.option(
    "--game",
    "chosen",
    type=click.Choice(list(GAMES)),
    multiple=True,
    default=list(GAMES),
    show_default=True,
    help="Column to draw; may be repeated.",
)
@options.show_config
def command(
    out: Path,
    seed: int,
    threads: int,
    data_root: Path | None,
    download: bool,
    runs: int,
    epochs: int | None,
    chosen: tuple[str, ...],
) -> None:
    """Level 2, optimal contraction and influence (6.2).

    Shows test accuracy and gradient norm over epochs, with 40 training and 400 validation images of
    MNIST: logistic regression and a small CNN on digits 1 and 7, and the CNN on all ten digits.

    \b
    Example: midstream figure 6 --data-root DIR
    """
    games = {
        name: replace(GAMES[name], epochs=epochs or GAMES[name].epochs) for name in dict.fromkeys(chosen)
    }
    found, done = {}, 0
    total = runs * len(ATTACKERS) * sum(game.epochs + 1 for game in games.values())
    with Progress(total, label="figure 6") as progress:
        for name, game in games.items():
            curves: dict[str, list[list[Point]]] = {attacker: [] for attacker in ATTACKERS}
            for run in range(runs):
                split = thinned(load_split(specify(game, seed + run), Source(data_root, download)))
                for attacker in ATTACKERS:
                    curve = []
                    player = armed(attacker, game)
                    for point in play(game, split, player, seed=seed + run, threads=threads):
                        done += 1
                        progress.update(done, f"{name}, seed {seed + run}, {attacker}")
                        curve += [point] if point else []
                    curves[attacker].append(curve)
            played = {attacker: summary(of) for attacker, of in curves.items()}
            found[name] = {**asdict(game), "attackers": played}
    numbers = {"seed": seed, "runs": runs, "games": found}
    write(out, 6, draw(numbers), numbers)


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw the figure: one column per game, test accuracy above, gradient norm below."""
    games = numbers["games"].values()
    figure = blank(0.6 + 3.6 * len(games), 6.6)
    axes = figure.subplots(2, len(games), squeeze=False, sharex="col")
    for column, game in enumerate(games):
        _draw_curves(axes[0, column], game["attackers"], "test_accuracy")
        _draw_curves(axes[1, column], game["attackers"], "gradient_norm")
        axes[0, column].set_title(game["title"], fontsize=11)
        axes[0, column].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes[1, column].set(xlabel="epoch", ylim=(0, None))
    axes[0, 0].set_ylabel("test accuracy")
    axes[1, 0].set_ylabel("gradient norm  Σₓ ‖∇θ L(x′)‖₂")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(
        f"Attacks that know the Hessian, mean ± standard deviation over {numbers['runs']} seeds", fontsize=12
    )
    return figure


def _draw_curves(axes: Axes, attackers: dict[str, Any], what: str) -> None:
    for place, (attacker, curve) in enumerate(attackers.items()):
        label, color, marker = _STYLES[attacker]
        epochs = curve["epoch"]
        aside = (place - 2) * 0.008 * epochs[-1]  # offset, so that error bars do not overlap
        axes.errorbar(
            [epoch + aside for epoch in epochs],
            curve[what]["mean"],
            yerr=curve[what]["deviation"],
            label=label,
            color=color,
            marker=marker,
            markersize=4,
            linestyle="--" if attacker == "none" else "-",
            linewidth=1.2,
            elinewidth=0.7,
            capsize=1.5,
        )
    axes.grid(alpha=0.3)
