"""`midstream inspect`: show one run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midstream.console import options
from midstream.console.service_options import reading_options, token_of

if TYPE_CHECKING:
    from midstream.command.runs.played import PlayedRun

_ROWS = 10

_CURVE = {
    "step": "step",
    "test_accuracy": "test acc.",
    "test_loss": "test loss",
    "validation_accuracy": "val. acc.",
    "test_r2": "test R²",
    "test_rmse": "test RMSE",
    "test_average_precision": "test mAP",
    "test_subset_accuracy": "all labels",
    "test_hamming_loss": "Hamming",
    "validation_loss": "val. loss",
    "conversion_rate": "conversion",
    "evasion_rate": "evasion",
}

output_options = options.together(
    click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Plot the learning curves to this PNG, PDF or SVG file.",
    ),
    click.option(
        "--tensorboard",
        type=click.Path(path_type=Path, file_okay=False),
        help="Write TensorBoard event files to this folder, one subfolder per run.",
    ),
    click.option(
        "--wandb",
        type=click.Path(path_type=Path, file_okay=False),
        help="Write offline runs of W&B to this folder; 'wandb sync' uploads them.",
    ),
    click.option(
        "--mlflow",
        metavar="STORE",
        help="Log to this MLflow tracking store: a folder, or a URI as in MLFLOW_TRACKING_URI.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)


@click.command("inspect")
@click.argument("run")
@output_options
@reading_options
def command(
    run: str,
    plot: Path | None,
    tensorboard: Path | None,
    wandb: Path | None,
    mlflow: str | None,
    as_json: bool,
    token_file: Path | None,
    ca: Path | None,
) -> None:
    """Print a run's result, learning curve, budget used, rates, reports and settings.

    RUN is a run folder (the run may be unfinished) or the URL of a run on a server.

    \b
    Example: midstream inspect runs/digits-level-1-vs-none-seed0 --plot curves.png
    """
    from midstream.command.runs.played import read_run
    from midstream.command.runs.summary import summary

    found = read_run(run, token=token_of(token_file), ca=ca)
    numbers = summary(found)
    click.echo(json.dumps(numbers) if as_json else "\n".join(_describe(found, numbers)))
    draw({found.name: found}, plot)
    track({found.name: found}, tensorboard=tensorboard, wandb=wandb, mlflow=mlflow)


def draw(runs: Mapping[str, "PlayedRun"], plot: Path | None) -> None:
    """Draw the learning curves to a file, if one is named, and print its path."""
    if plot is not None:
        from midstream.command.runs.curves import draw_runs

        draw_runs(plot, {label: run.records for label, run in runs.items()})
        click.echo(f"plot: {plot}", err=True)


def track(
    runs: Mapping[str, "PlayedRun"], *, tensorboard: Path | None, wandb: Path | None, mlflow: str | None
) -> None:
    """Export runs to the trackers that are asked for, and print the commands that show or upload them."""
    if tensorboard is not None:
        from midstream.command.runs.tensorboard import write_events

        for label, run in runs.items():
            write_events(tensorboard / label.replace("/", "-").lstrip("."), run)
        click.echo(f"tensorboard --logdir {tensorboard}", err=True)
    if wandb is not None:
        from midstream.command.runs.wandb import write_offline_runs

        write_offline_runs(wandb, runs)
        click.echo(f"wandb sync {wandb}/wandb/offline-run-*", err=True)
    if mlflow is not None:
        from midstream.command.runs.mlflow import log_to_mlflow, without_login

        for label, run in runs.items():
            log_to_mlflow(mlflow, label, run)
        click.echo(f"mlflow: {without_login(mlflow)}", err=True)


def _describe(run: "PlayedRun", numbers: dict[str, Any]) -> Iterator[str]:
    from midstream.command.runs.summary import checker_words, resumed_words

    specification = run.specification
    yield f"{run.place}: {run.state}, {numbers['steps']} steps"
    if numbers["attacker"] is not None:
        yield f"attacker: {numbers['attacker']}, ε = {numbers['attack_epsilon']:g} ({numbers['attack_norm']})"
    yield f"defender: {numbers['defender']}, ε = {specification['epsilon']:g} ({specification['norm']})"
    if numbers["checker"] is not None:
        yield checker_words(numbers["checker"])
    share = numbers["correction"]["share_of_budget"]
    if share is not None and numbers["defender"] != "none":
        yield f"the defender used {share:.1%} of its budget on average"
    spent = numbers["seconds_per_step"]
    if spent is not None:
        yield f"{spent['median'] * 1e3:.3g} ms per step (median), {spent['in_all']:.3g} s of training overall"
    for side, count in numbers["passed_clean"].items():
        if count:
            yield f"the {side} failed on {count} of {numbers['steps']} batches, which passed unchanged"
    for side, count in numbers["resumed_anyway"].items():
        if count:
            yield resumed_words(side, count)
    yield from _reports(numbers["reports"])
    if run.result is not None:
        yield f"parameters: SHA-256 {run.result['parameters_sha256']}"
    yield ""
    yield from _learning_curve(numbers)
    yield ""
    for title, settings in (("specification", specification), ("environment", run.environment)):
        if settings is not None:
            shown = {name: value for name, value in settings.items() if value is not None}
            yield f"{title}: " + ", ".join(f"{name} {value}" for name, value in shown.items())


def _reports(reports: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    for side, reported in reports.items():
        for name, value in reported.items():
            yield f"{side} reports {name}: {value['mean']:.4g} (mean), {value['last']:.4g} (last)"


def _learning_curve(numbers: dict[str, Any]) -> Iterator[str]:
    from midstream.command.runs.curves import sparkline
    from midstream.command.runs.measured import judged, words

    curve, best = numbers["learning_curve"], numbers["best"]
    if not curve:
        yield "no evaluation yet"
        return
    name = judged(curve)
    end = f"{words(name)} {curve[-1][name]:.4f} at step {curve[-1]['step']}"
    yield f"{end}; best {best[name]:.4f} at step {best['step']}"
    yield f"  {sparkline([point[name] for point in curve])}"
    columns = [column for column in _CURVE if curve[-1].get(column) is not None]
    yield "".join(f"{_CURVE[name]:>12}" for name in columns)
    stride = -(-len(curve) // _ROWS)
    for point in curve[(len(curve) - 1) % stride :: stride]:
        cells = (point[name] for name in columns)
        yield "".join(f"{cell:>12.4f}" if isinstance(cell, float) else f"{cell!s:>12}" for cell in cells)
