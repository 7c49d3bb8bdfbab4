"""`midstream robustness`: attack a finished run's model at test time."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.console import options
from midstream.console.finite import FINITE
from midstream.console.process_options import data_options, device_options

if TYPE_CHECKING:
    from midstream.attacks.robustness import Robustness
    from midstream.command.runs.played import PlayedRun

_GREY, _COLOUR = 0.3, 8 / 255  # the paper's L∞ radii, for MNIST and for CIFAR-10


@click.command("robustness")
@click.argument("run")
@click.option(
    "--epsilon",
    type=FINITE,
    callback=options.radius,
    help="L∞ radius of YOPO and FGSM-PGD; the paper's by default: 0.3 on grey images, 8/255 on colour.",
)
@click.option(
    "--examples",
    type=click.IntRange(1),
    help="Number of test images to attack, drawn with the run's seed; all by default.",
)
@click.option(
    "--cw-examples",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Number of these images that CW attacks; CW is about a thousand times slower. 0 skips CW.",
)
@click.option(
    "--cw-iterations",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Maximum Adam steps for each of CW's 9 weights; the original uses 10000.",
)
@data_options
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: str,
    epsilon: float | None,
    examples: int | None,
    cw_examples: int,
    cw_iterations: int,
    data_root: Path | None,
    download: bool,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Attack a finished run's model at test time: YOPO-5-3 and FGSM-PGD within L∞, CW at L2 (Table A.8).

    RUN is a run folder; the model is loaded from its checkpoint. Black-box runs work too. Signs of an
    unreliable result, such as an accuracy that a larger radius does not lower, go to standard error.

    \b
    Example: midstream robustness runs/digits-none-vs-level-1-seed0 --examples 200
    """
    import torch

    from midstream.attacks.adversarial.cw import Search
    from midstream.attacks.robustness import robustness, suspicions
    from midstream.command.runs.finished import finished, model_of, specification_of
    from midstream.console.progress import Progress
    from midstream.mathematics.seeds import permutation
    from midstream.run.batches import load_split
    from midstream.run.datasets import Source
    from midstream.run.process.environment import configure

    started = time.perf_counter()
    where = configure(threads=threads, device=device)
    played = finished(run)
    specification = specification_of(played)
    digest = (played.environment or {}).get("dataset_sha256")
    split = load_split(specification, Source(data_root, download), dataset_sha256=digest)
    model = model_of(played, specification, split).to(where)
    order = torch.from_numpy(permutation(len(split.test), specification.seed, "robustness"))[:examples]
    test = split.test[order]
    if epsilon is None:
        epsilon = usual_radius(test.inputs.shape[1])
    with Progress(len(test), label="robustness") as progress:
        found = robustness(
            model,
            test.inputs.to(where),
            test.labels.to(where),
            epsilon=epsilon,
            cw_inputs=min(cw_examples, len(test)),
            search=Search(iterations=cw_iterations),
            tell=lambda done, work, text: progress.update(done, text, total=work),
        )
    said = suspicions(found, classes=len(split.classes))
    for sentence in said:
        click.echo(f"suspicious: {sentence} (docs/robustness.md)", err=True)
    if as_json:
        settings = {"seconds": round(time.perf_counter() - started, 3), "cw_iterations": cw_iterations}
        click.echo(json.dumps(_about(played) | asdict(found) | {"suspicions": said} | settings))
    else:
        _print(played, found)


def usual_radius(channels: int) -> float:
    """Return the paper's L∞ radius for images of so many channels.

    >>> usual_radius(1)
    0.3
    """
    return _GREY if channels == 1 else _COLOUR


def _about(played: "PlayedRun") -> dict[str, object]:
    scenario = played.scenario or {}
    return {
        "run": played.place,
        "dataset": played.specification["dataset"],
        "attacker": scenario.get("attacker"),
        "attack_epsilon": scenario.get("attack-epsilon"),
        "defender": played.specification["defender"],
        "test_accuracy": (played.result or {})["test_accuracy"],
    }


def _print(played: "PlayedRun", found: "Robustness") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    about = _about(played)
    players = f"attacker {about['attacker'] or 'unknown'}, defender {about['defender']}"
    table = Table(
        title=f"{about['dataset']}, trained with {players}", title_justify="left", box=box.SIMPLE_HEAD
    )
    for heading in ("test-time attack", "ball", "images"):
        table.add_column(heading, no_wrap=True)
    for heading in ("accuracy", "success", "median distance"):
        table.add_column(heading, justify="right", no_wrap=True)
    ball, images = f"L∞, ε = {found.epsilon:.3g}", str(found.inputs)
    table.add_row("none", "", images, f"{found.clean:.3f}")
    table.add_row("YOPO-5-3", ball, images, f"{found.yopo:.3f}")
    table.add_row("FGSM-PGD, 5 steps", ball, images, f"{found.pgd:.3f}")
    if (cw := found.cw) is not None:
        distance = "" if cw.median_distance is None else f"{cw.median_distance:.3f}"
        table.add_row("CW", "L2, no bound", str(cw.inputs), "", f"{cw.success_rate:.3f}", distance)
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else 120).print(table)
