"""Export a run to TensorBoard: scalars per step, sample images and the specification."""

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from PIL import Image

from midstream.command.runs.played import PlayedRun
from midstream.command.runs.tracked import missing, numbers, samples, training_times


def write_events(folder: Path, run: PlayedRun) -> None:
    """Write a run's records to a new event file in a folder.

    Every number of a record becomes a scalar under its own name; a player's reports become `attacker/NAME`
    and `defender/NAME`. A scalar's time is the training time up to its step, which TensorBoard shows on its
    relative axis.

    Raises:
        click.ClickException: tensorboard is not installed, or the folder already holds event files.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise missing("--tensorboard", "tensorboard", error) from error
    if any(folder.glob("events.out.tfevents.*")):
        raise click.ClickException(
            f"{folder} already holds event files, and a second one would mix two runs; choose another folder"
        )
    times = training_times(run)
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("specification", _as_table(run.specification), walltime=0)
        for record, seconds in zip(run.records, times, strict=True):
            for name, value in numbers(record).items():
                writer.add_scalar(name, value, record["step"], walltime=seconds)
        for step, path in samples(run):
            picture = np.asarray(Image.open(path).convert("RGB"))
            writer.add_image("samples", picture, step, walltime=times[step - 1], dataformats="HWC")


def _as_table(settings: Mapping[str, object]) -> str:
    rows = [f"| {name} | {value} |" for name, value in settings.items() if value is not None]
    return "\n".join(["| setting | value |", "|---|---|", *rows])
