"""`midstream robustness`: attack a finished run's model at test time."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from midstream.attacks.cw import Search
from midstream.attacks.robustness import Robustness, robustness, suspicions
from midstream.command.played import PlayedRun, read_run
from midstream.console import options
from midstream.console.finite import FINITE
from midstream.console.process_options import data_options, device_options
from midstream.console.progress import Progress
from midstream.mathematics.seeds import permutation
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.batches import load_split
from midstream.run.datasets import Examples, Source, Split
from midstream.run.environment import configure
from midstream.run.models import build_model
from midstream_server.runs.checkpoint import NEWEST, read_checkpoint

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
    started = time.perf_counter()
    where = configure(threads=threads, device=device)
    finished = finished_model(run, Source(data_root, download), where, examples=examples)
    played, test = finished.played, finished.test
    with Progress(len(test), label="robustness") as progress:
        found = robustness(
            finished.model,
            test.inputs.to(where),
            test.labels.to(where),
            epsilon=finished.radius if epsilon is None else epsilon,
            cw_inputs=min(cw_examples, len(test)),
            search=Search(iterations=cw_iterations),
            tell=lambda done, work, text: progress.update(done, text, total=work),
        )
    said = suspicions(found, classes=finished.classes)
    for sentence in said:
        click.echo(f"suspicious: {sentence} (docs/robustness.md)", err=True)
    if as_json:
        settings = {"seconds": round(time.perf_counter() - started, 3), "cw_iterations": cw_iterations}
        click.echo(json.dumps(_about(played) | asdict(found) | {"suspicions": said} | settings))
    else:
        _print(played, found)


@dataclass(frozen=True)
class FinishedModel:
    """The model of a finished run, and the images to attack it with.

    Attributes:
        played: the run.
        model: the model at its final parameters.
        test: test images, drawn with the run's seed.
        classes: number of classes.
    """

    played: PlayedRun
    model: nn.Module
    test: Examples
    classes: int

    @property
    def radius(self) -> float:
        """The paper's L∞ radius for images like these."""
        return _GREY if self.test.inputs.shape[1] == 1 else _COLOUR


def finished_model(
    run: str, source: Source, device: torch.device, *, examples: int | None = None
) -> FinishedModel:
    """Load the model of a finished run from its checkpoint.

    Args:
        run: the run folder.
        source: where the data set is.
        device: where the model is put.
        examples: number of test images; None for all.

    Raises:
        click.UsageError: `run` is a URL, or the run is not finished.
        click.ClickException: the folder has no checkpoint, or one of a different run.
    """
    played = _finished(run)
    specification = _specification(played)
    digest = (played.environment or {}).get("dataset_sha256")
    split = load_split(specification, source, dataset_sha256=digest)
    order = torch.from_numpy(permutation(len(split.test), specification.seed, "robustness"))[:examples]
    model = _model(played, specification, split).to(device)
    return FinishedModel(played, model, split.test[order], len(split.classes))


def _finished(place: str) -> PlayedRun:
    """Return a run whose training has finished.

    Raises:
        click.UsageError: `place` is a URL, or the run is not finished.
    """
    if place.startswith(("http://", "https://")):
        raise click.UsageError(f"{place} is a URL; give the run folder, which holds the checkpoint")
    played = read_run(place)
    if played.result is None:
        raise click.UsageError(
            f"{place} is not finished: it has {len(played.records)} recorded steps and no result.json; wait "
            f"for the run to finish"
        )
    return played


def _specification(played: PlayedRun) -> Specification:
    try:
        return Specification.model_validate(played.specification)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, not {fault['input']!r:.80}"
            for fault in error.errors()
        )
        raise click.ClickException(f"{played.place}/specification.json is invalid: {faults}") from error


def _model(played: PlayedRun, specification: Specification, split: Split) -> nn.Module:
    """Load a finished run's model from its checkpoint, and verify the parameters' digest.

    Raises:
        click.ClickException: there is no checkpoint, or its parameters differ from those of the result.
    """
    assert played.folder is not None
    assert played.result is not None
    path = played.folder / NEWEST
    checkpoint = read_checkpoint(path)
    if checkpoint is None:
        raise click.ClickException(f"{path} is missing: it should hold the parameters of the finished run")
    parameters = {
        name.removeprefix("model."): value
        for name, value in checkpoint.tensors.items()
        if name.startswith("model.")
    }
    if tensors_sha256(parameters) != played.result["parameters_sha256"]:
        raise click.ClickException(
            f"{path} holds parameters that differ from those in {played.folder / 'result.json'}; was one "
            f"of the files copied from another run?"
        )
    model = build_model(
        specification.model,
        tuple(split.test.inputs.shape[1:]),
        len(split.classes),
        batch_norm=specification.batch_norm,
    )
    model.load_state_dict(parameters)
    return model.eval().requires_grad_(False)


def _about(played: PlayedRun) -> dict[str, Any]:
    scenario = played.scenario or {}
    return {
        "run": played.place,
        "dataset": played.specification["dataset"],
        "attacker": scenario.get("attacker"),
        "attack_epsilon": scenario.get("attack-epsilon"),
        "defender": played.specification["defender"],
        "test_accuracy": (played.result or {})["test_accuracy"],
    }


def _print(played: PlayedRun, found: Robustness) -> None:
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
