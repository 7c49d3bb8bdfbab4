"""Figure A.8: images clean, attacked and defended, with the perturbations, on three data sets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torch.nn.functional import cosine_similarity

from midstream import level_1_attack, level_1_defense
from midstream.command.figures.files import blank, figure_options, write
from midstream.command.figures.games import ObservedGame
from midstream.console import options
from midstream.console.process_options import data_options
from midstream.console.progress import Progress
from midstream.protocol.specification import Specification
from midstream.run.batches import load_split
from midstream.run.datasets import Examples, MissingDataError, Source, Split
from midstream_server.runs.training import TrainingRun

_COLUMNS = ("clean x", "attack δ", "attacked x′", "defence σ", "defended x″")
# The paper's networks and budgets, in games short enough for a CPU.
_GAMES: dict[str, dict[str, Any]] = {
    "mnist": {"train_size": 2000, "validation_size": 500, "batch_size": 100, "max_steps": 100},
    "cifar10": {"train_size": 2000, "validation_size": 250, "batch_size": 50, "max_steps": 40},
    "photos": {"validation_size": 60, "batch_size": 20, "image_size": 256, "max_steps": 20},
}
_MEASURED = 50  # number of training images over which cosine and distance are averaged
_NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "photos": "photos"}


@dataclass(frozen=True)
class Panel:
    """One data set's rows.

    Attributes:
        title: title of the panel.
        labels: the class of each row.
        columns: `x, δ, x', σ, x''`, each `(rows, channels, height, width)`.
        numbers: the panel's numbers as a JSON object.
    """

    title: str
    labels: list[str]
    columns: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    numbers: dict[str, Any]


@click.command("8")
@figure_options
@data_options
@options.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photos, one subfolder per class; cropped to 256×256.",
)
@options.option(
    "--steps", type=click.IntRange(1), help="Training steps before the images; 100, 40 and 20 by default."
)
@options.option("--rows", type=click.IntRange(1), default=3, show_default=True, help="Images per data set.")
@options.show_config
def command(
    out: Path,
    seed: int,
    threads: int,
    data_root: Path | None,
    download: bool,
    photos: Path | None,
    steps: int | None,
    rows: int,
) -> None:
    """Images clean, attacked and defended (A.2.2).

    Shows images of MNIST, CIFAR-10 and photos, with their perturbations. Each model is first trained
    for some steps with level 1 on both sides. Missing data sets are skipped.

    \b
    Example: midstream figure 8 --data-root DIR --photos DIR/owl-jellyfish
    """
    panels = []
    for name, sizes in _GAMES.items():
        dataset = f"folder:{photos}" if name == "photos" else name
        if name == "photos" and photos is None:
            click.echo("skipped: photos; give a folder with --photos", err=True)
            continue
        settings = {**sizes, "dataset": dataset, "seed": seed}
        settings["max_steps"] = settings["epochs"] = steps or sizes["max_steps"]
        specification = Specification.model_validate({**settings, "defender": "level-1"})
        try:
            split = load_split(specification, Source(data_root, download))
        except MissingDataError as error:
            click.echo(f"skipped: {error}", err=True)
            continue
        panels.append(panel(_NAMES[name], specification, split, rows=rows, threads=threads))
    if not panels:
        raise click.ClickException("none of the three data sets was found; name a folder with --data-root")
    write(out, 8, draw(panels), {"panels": [shown.numbers for shown in panels]}, dpi=90)


def panel(name: str, specification: Specification, split: Split, *, rows: int, threads: int) -> Panel:
    """Play the short game, and perturb some images at its final parameters.

    The images are training images, taken from the classes in turn. δ and σ are level 1 without momentum,
    before clamping to the pixel range.
    """
    game = ObservedGame(specification, split, "level-1", threads=threads)
    with Progress(game.run.total_steps, label=name) as progress:
        for turn in game.turns():
            progress.update(turn.seq + 1)
    chosen = split.train[in_turn(split.train.labels, rows)]
    many = split.train[torch.arange(min(_MEASURED, len(split.train)))]
    accuracy = game.run.evaluate().test_accuracy
    opposition = opposed(*perturbed(game.run, many))
    title = (
        f"{name}, ε = {specification.epsilon:g}, after {game.run.step} steps (test accuracy {accuracy:.2f})\n"
        f"mean cosine of σ and δ {opposition['cosine_of_directions']:.2f}, "
        f"‖x″ − x‖ = {opposition['distance_left']:.2f} ‖x′ − x‖"
    )
    named = {"train_size", "validation_size", "batch_size", "model", "epsilon", "optimizer", "learning_rate"}
    numbers = {
        "data": name,
        "steps": game.run.step,
        "test_accuracy": accuracy,
        "seed": specification.seed,
        **specification.model_dump(include=named),
        **opposition,
    }
    return Panel(
        title, [split.classes[label] for label in chosen.labels], perturbed(game.run, chosen), numbers
    )


def in_turn(labels: Tensor, count: int) -> Tensor:
    """Return the indices of the examples to show: the first of each class, then the second, …

    >>> in_turn(torch.tensor([4, 4, 4, 7, 4]), 3).tolist()
    [0, 3, 1]
    """
    place = torch.zeros_like(labels)
    for label in set(labels.tolist()):
        of_class = labels == label
        place[of_class] = torch.arange(int(of_class.sum()))
    return place.argsort(stable=True)[:count]


def perturbed(run: TrainingRun, examples: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return `x, ε δ, x', ε σ, x''` of level 1 against level 1 at the live parameters."""
    clean, labels, view = examples.pixels(), examples.labels, run.view()
    budget, v = view.budget, view.validation_gradient()
    attack = level_1_attack(view.model, clean, labels, validation_gradient=v, budget=budget)
    attacked = budget.perturb(clean, attack)
    defense = level_1_defense(view.model, attacked, labels, validation_gradient=v, budget=budget)
    return clean, attack, attacked, defense, budget.perturb(attacked, defense)


def opposed(
    clean: Tensor, attack: Tensor, attacked: Tensor, defense: Tensor, defended: Tensor
) -> dict[str, float]:
    """Return how much of the attack the defence reverts, as means over examples.

    `cosine_of_directions` is the cosine of σ and δ, `cosine_of_moves` that of the clamped moves `x'' - x'`
    and `x' - x`, and `distance_left` is `‖x'' - x‖ / ‖x' - x‖`.
    """
    first, second = (attacked - clean).flatten(1), (defended - attacked).flatten(1)
    left = (defended - clean).flatten(1).norm(dim=1) / first.norm(dim=1).clamp_min(1e-12)
    return {
        "examples_measured": len(clean),
        "cosine_of_directions": cosine_similarity(attack.flatten(1), defense.flatten(1)).mean().item(),
        "cosine_of_moves": cosine_similarity(first, second).mean().item(),
        "distance_left": left.mean().item(),
    }


def draw(panels: list[Panel]) -> Figure:
    """Draw the figure, with one block of rows per data set."""
    rows = [len(panel.labels) for panel in panels]
    figure = blank(8, sum(1.6 * count + 0.6 for count in rows))
    blocks = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=[1.6 * n + 0.6 for n in rows])
    for block, panel in zip(blocks[:, 0], panels, strict=True):
        _draw_block(block, panel)
    return figure


def _draw_block(block: SubFigure, panel: Panel) -> None:
    block.suptitle(panel.title, fontsize=10)
    axes = block.subplots(len(panel.labels), len(_COLUMNS), squeeze=False)
    for row, label in enumerate(panel.labels):
        axes[row, 0].set_ylabel(label)
        for column, (heading, images) in enumerate(zip(_COLUMNS, panel.columns, strict=True)):
            image = images[row] if column % 2 == 0 else stretched(images[row])
            axes[row, column].imshow(image.permute(1, 2, 0).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1)
            axes[row, column].set(xticks=[], yticks=[])
            if row == 0:
                axes[row, column].set_title(heading, fontsize=10)


def stretched(perturbation: Tensor) -> Tensor:
    """Return a perturbation rescaled to [0, 1]; 0.5 if it is constant."""
    lowest, highest = perturbation.min(), perturbation.max()
    if lowest == highest:
        return torch.full_like(perturbation, 0.5)
    return (perturbation - lowest) / (highest - lowest)
