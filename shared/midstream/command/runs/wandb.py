"""Export runs to Weights & Biases, offline: nothing is sent until `wandb sync`."""

import os
from collections.abc import Mapping
from pathlib import Path

from midstream.command.runs.played import PlayedRun
from midstream.command.runs.tracked import missing, numbers, samples, settings, training_times

PROJECT = "midstream"


def write_offline_runs(folder: Path, runs: Mapping[str, PlayedRun]) -> None:
    """Write runs as offline runs of W&B to `folder/wandb`.

    Each step logs every number of its record, and `training_seconds`, the training time up to it. The
    settings are the run's config. `wandb sync FOLDER/wandb/offline-run-*` uploads the runs.

    Args:
        folder: where the offline runs are written; it may hold others.
        runs: the runs, by their names in W&B.

    Raises:
        click.ClickException: wandb is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # of its own crashes, to its makers
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise missing("--wandb", "wandb", error) from error
    folder.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(
        mode="offline",
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    for label, run in runs.items():
        images = dict(samples(run))
        logged = wandb.init(
            project=PROJECT,
            name=label,
            dir=str(folder),
            config=settings(run),
            settings=quiet,
            reinit="create_new",
        )
        for record, seconds in zip(run.records, training_times(run), strict=True):
            step = record["step"]
            content = {**numbers(record), "training_seconds": seconds}
            if step in images:
                content["samples"] = wandb.Image(str(images[step]))
            logged.log(content, step=step)
        logged.finish()
    wandb.teardown()  # ends its process, which may still be writing
