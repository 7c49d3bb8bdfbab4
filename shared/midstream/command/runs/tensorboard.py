"""Export a run to TensorBoard: scalars per step, sample images and the specification."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import click
import numpy as np
from PIL import Image

from midstream.command.runs.played import PlayedRun

_Value = float | Mapping[str, float] | None
_BESIDE = ("step", "epoch")  # fields of a record that are not curves


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
        raise click.ClickException(
            f"--tensorboard needs the package {error.name!r}: pip install 'midstream[tensorboard]'"
        ) from error
    if any(folder.glob("events.out.tfevents.*")):
        raise click.ClickException(
            f"{folder} already holds event files, and a second one would mix two runs; choose another folder"
        )
    times = list(accumulate(record["seconds"] for record in run.records))
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("specification", _as_table(run.specification), walltime=0)
        for record, seconds in zip(run.records, times, strict=True):
            for name, value in _scalars(record):
                writer.add_scalar(name, value, record["step"], walltime=seconds)
        for path in sorted((run.folder / "samples").glob("*.png")) if run.folder else []:
            step = int(path.stem) + 1
            if step <= len(times):
                picture = np.asarray(Image.open(path).convert("RGB"))
                writer.add_image("samples", picture, step, walltime=times[step - 1], dataformats="HWC")


def _scalars(record: Mapping[str, _Value]) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{reported}", number) for reported, number in value.items())
        elif value is not None and name not in _BESIDE:
            yield name, value


def _as_table(settings: Mapping[str, object]) -> str:
    rows = [f"| {name} | {value} |" for name, value in settings.items() if value is not None]
    return "\n".join(["| setting | value |", "|---|---|", *rows])
