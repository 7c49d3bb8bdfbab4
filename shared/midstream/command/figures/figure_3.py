"""Figure 3: moves of level 1 and level 2 in scalar regression, and their effect on the test loss."""

import math
from pathlib import Path
from typing import TypedDict

import click
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from midstream.command.figures import regression
from midstream.command.figures.files import BLUE, VERMILLION, blank, figure_options, write
from midstream.console import options
from midstream.console.progress import Progress
from midstream.errors import MidstreamError
from midstream.run.process.environment import configure

_UNDERSHOOTS, _OVERSHOOTS = 1.2, 1.8  # inputs on either side of √(1 / 2η) = 1.58
_PLAYERS: tuple[tuple[regression.Side, int], ...] = (
    ("attacker", 1),
    ("attacker", 2),
    ("defender", 1),
    ("defender", 2),
)
_COLORS = (BLUE, VERMILLION)  # towards θ*, away from it
_CLOSE = 1e-11  # of θ, which is about 20: a few hundred roundings


class _Move(TypedDict):
    side: regression.Side
    level: int
    theta: float


class OneStep(TypedDict):
    """One step from θ_0: x, θ_0, and θ after the clean step and after each player's move."""

    x: float
    theta: float
    clean: float
    moves: list[_Move]


class _Cell(TypedDict):
    attacker: int
    defender: int
    expected: float
    mean: float
    deviation: float
    log10_mean: float
    log10_deviation: float


class Numbers(TypedDict):
    """The numbers that the figure shows, as its JSON file holds them."""

    seed: int
    runs: int
    runs_played_by_general_strategies: int
    iterations: int
    learning_rate: float
    epsilon: float
    disagreement: float
    undershoots: OneStep
    overshoots: OneStep
    mean_test_loss: list[_Cell]
    best_response_to_level: list[dict[str, float]]


class DisagreementError(MidstreamError, ArithmeticError):
    """The closed forms and the general strategies give different parameters."""


@click.command("3")
@figure_options
@options.option("--runs", type=click.IntRange(2), default=2000, show_default=True, help="Games per cell.")
@options.option(
    "--checked",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Number of these games that the general strategies replay.",
)
@options.show_config
def command(out: Path, seed: int, threads: int, runs: int, checked: int) -> None:
    """Level 1 and level 2 in scalar regression (section 5).

    Shows one step, and the test loss after thirty steps. The games are played by the closed forms
    of A.2.1; the general strategies replay some of them, and both must agree.

    \b
    Example: midstream figure 3
    """
    configure(threads=threads, device="cpu")
    found = numbers(runs, checked, seed)
    write(out, 3, draw(found), found)
    click.echo(f"closed forms and general strategies agree: θ differs by at most {found['disagreement']:.1e}")


def numbers(runs: int, checked: int, seed: int) -> Numbers:
    """Return the figure's numbers as a JSON object.

    Raises:
        DisagreementError: the closed forms and the general strategies give different θ.
    """
    inputs = regression.draw(runs, seed)
    games = [(a, d) for a in regression.LEVELS for d in regression.LEVELS]
    cells, furthest = [], 0.0
    with Progress(len(games) * checked, label="figure 3") as progress:
        for number, (attacker, defender) in enumerate(games):
            residuals = regression.play_closed_form(inputs, attacker, defender)
            for run, row in enumerate(inputs[:checked]):
                thetas = regression.play_general(row, attacker, defender)
                furthest = max(furthest, _agree(thetas, regression.TARGET + residuals[run]))
                progress.update(number * checked + run + 1, f"level {attacker} against level {defender}")
            cells.append(_cell(attacker, defender, residuals[:, -1]))
    return {
        "seed": seed,
        "runs": runs,
        "runs_played_by_general_strategies": min(runs, checked),
        "iterations": regression.ITERATIONS,
        "learning_rate": regression.RATE,
        "epsilon": regression.EPSILON,
        "disagreement": furthest,
        "undershoots": one_step(_UNDERSHOOTS),
        "overshoots": one_step(_OVERSHOOTS),
        "mean_test_loss": cells,
        "best_response_to_level": [
            {
                "level": level,
                "attacker": regression.expected_loss_of_best_response("attacker", level),
                "defender": regression.expected_loss_of_best_response("defender", level),
            }
            for level in regression.LEVELS
        ],
    }


def one_step(x: float) -> OneStep:
    """Return θ after one step from θ_0, on the clean x and on x as perturbed by each player."""
    batch = torch.tensor([[x]], dtype=torch.float64)
    clean = regression.step(regression.Regression(regression.START), batch).item()
    moves: list[_Move] = []
    for side, level in _PLAYERS:
        model = regression.Regression(regression.START)
        theta = regression.step(model, batch + regression.general(level, side, model, batch))
        perturbed = batch + regression.closed_form(level, side, batch)
        residual = (regression.START - regression.TARGET) * (1 - 2 * regression.RATE * perturbed.square())
        _agree(theta, regression.TARGET + residual)
        moves.append({"side": side, "level": level, "theta": theta.item()})
    return {"x": x, "theta": regression.START, "clean": clean, "moves": moves}


def _cell(attacker: int, defender: int, residual: Tensor) -> _Cell:
    losses = regression.mean_loss(residual)
    return {
        "attacker": attacker,
        "defender": defender,
        "expected": regression.expected_loss(attacker, defender),
        "mean": losses.mean().item(),
        "deviation": losses.std().item(),
        "log10_mean": losses.log10().mean().item(),
        "log10_deviation": losses.log10().std().item(),
    }


def _agree(general: Tensor, closed_form: Tensor) -> float:
    apart = (general - closed_form).abs().max().item()
    if not apart < _CLOSE:
        raise DisagreementError(f"θ by closed form and by the general strategies differ by {apart:.3g}")
    return apart


def draw(found: Numbers) -> Figure:
    """Draw the figure: two single steps above, the matrix of losses below."""
    figure = blank(10, 8)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.1])[:, 0]
    left, right = upper.subplots(1, 2, sharey=True)
    _draw_step(left, found["undershoots"], "(a) the clean step undershoots θ*")
    _draw_step(right, found["overshoots"], "(b) the clean step overshoots θ*")
    ways = [Line2D([], [], color=color, linewidth=2.5) for color in _COLORS]
    left.legend(ways, ["moved towards θ*", "moved away from θ*"], loc="center right", fontsize=9)
    _draw_matrix(lower.subplots(), found)
    return figure


def _draw_step(axes: Axes, found: OneStep, title: str) -> None:
    clean, target = found["clean"], regression.TARGET
    axes.axvline(target, color="black", linewidth=1.5)
    axes.axvline(clean, color="0.5", linestyle="--", linewidth=1.2)
    axes.plot(found["theta"], 0.65, "o", color="0.35")
    axes.text(found["theta"], 0.6, "   θₜ", color="0.35")
    axes.text(target, 0.6, "  θ*")
    axes.text(clean, 0.6, "  clean θₜ₊₁", color="0.35")
    for row, move in enumerate(found["moves"]):
        theta = move["theta"]
        away = abs(theta - target) > abs(clean - target)
        arrow = {"arrowstyle": "-|>", "color": _COLORS[away], "linewidth": 2.5}
        axes.annotate("", xy=(theta, -row), xytext=(clean, -row), arrowprops=arrow)
        if away != (move["side"] == "attacker"):
            side, offset = ("left", 6) if theta > clean else ("right", -6)
            words = axes.annotate("wrong way", (theta, -row), (offset, 0), textcoords="offset points")
            words.set(ha=side, va="center", weight="bold")
    players = [f"level-{move['level']} {move['side']}" for move in found["moves"]]
    axes.set_yticks([-row for row in range(len(players))], players)
    axes.set(xlim=(-13, 53), ylim=(0.4 - len(players), 1.1), xlabel="θ")
    axes.set_title(
        f"{title}\nx = {found['x']:g}, 2ηx² = {2 * regression.RATE * found['x'] ** 2:.2f}", fontsize=11
    )


def _draw_matrix(axes: Axes, found: Numbers) -> None:
    size = len(regression.LEVELS)
    table = [[0.0] * size for _ in range(size)]
    for cell in found["mean_test_loss"]:
        table[cell["attacker"]][cell["defender"]] = math.log10(cell["expected"])
    image = axes.imshow(table, cmap="cividis", aspect="auto")
    middle = (min(map(min, table)) + max(map(max, table))) / 2
    for cell in found["mean_test_loss"]:
        attacker, defender = cell["attacker"], cell["defender"]
        mantissa, exponent = f"{cell['expected']:.1e}".split("e")
        axes.text(
            defender,
            attacker,
            f"{mantissa} · $10^{{{int(exponent)}}}$\n\n"
            f"runs: $10^{{{cell['log10_mean']:.1f}\\ ±\\ {cell['log10_deviation']:.1f}}}$",
            ha="center",
            va="center",
            size=11,
            color="black" if table[attacker][defender] > middle else "white",
        )
    names = [f"level {level}" for level in regression.LEVELS]
    axes.set_xticks(range(size), names)
    axes.set_yticks(range(size), names)
    axes.set(xlabel="defender", ylabel="attacker")
    axes.set_title(
        f"(c) test loss after {found['iterations']} iterations: its expectation; mean ± deviation of the "
        f"exponent over {found['runs']:,} runs",
        fontsize=11,
    )
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label="log₁₀ of the expected test loss")
