"""Export a run to Weights & Biases, offline: nothing is sent until `wandb sync`."""

import os
from pathlib import Path

from midstream.command.runs.played import PlayedRun
from midstream.command.runs.tracked import missing, numbers, samples, settings, training_times

PROJECT = "midstream"


def write_offline_run(folder: Path, label: str, run: PlayedRun) -> None:
    """Write a run as an offline run of W&B to `folder/wandb`.

    Each step logs every number of its record, and `training_seconds`, the training time up to it. The
    settings are the run's config. `wandb sync FOLDER/wandb/offline-run-*` uploads it.

    Args:
        folder: where the offline run is written; it may hold others.
        label: the run's name in W&B.
        run: the run.

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
    config = settings(run)
    images = dict(samples(run))
    with wandb.init(
        project=PROJECT, name=label, dir=str(folder), config=config, settings=quiet, reinit="create_new"
    ) as logged:
        for record, seconds in zip(run.records, training_times(run), strict=True):
            step = record["step"]
            content = {**numbers(record), "training_seconds": seconds}
            if step in images:
                content["samples"] = wandb.Image(str(images[step]))
            logged.log(content, step=step)
