"""What a run folder holds of a finished game: its result, and the trained network."""

from pathlib import Path

import click
from torch import nn

from midstream.command.api.result import GameResult
from midstream.command.played import PlayedRun, read_run
from midstream.errors import MidstreamError
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.batches import load_split
from midstream.run.datasets import Source, Split
from midstream.run.models import build_model
from midstream.storage.run_files import DamagedRunError
from midstream_server.runs.checkpoint import NEWEST, read_checkpoint


class NotFinishedError(MidstreamError, ValueError):
    """A folder holds no finished game; the message says what it holds."""


def finished_run(folder: Path) -> PlayedRun:
    """Read the finished run in a folder.

    Raises:
        NotFinishedError: the folder holds no finished run.
        midstream.storage.run_files.DamagedRunError: one of its files cannot be read, or was altered after
            the run finished.
    """
    try:
        played = read_run(str(folder))
    except click.ClickException as error:
        raise NotFinishedError(error.format_message()) from error
    if played.result is None:
        raise NotFinishedError(
            f"{folder} is not finished: it has {len(played.records)} recorded steps and no result.json; "
            f"the game that began it goes on if it is played again with the same run and out"
        )
    return played


def load(folder: Path) -> GameResult:
    """Return the result of the finished game in a run folder; see `GameResult.load`."""
    played = finished_run(folder)
    assert played.result is not None
    scenario = played.scenario or {}
    attack = {
        "attacker": scenario.get("attacker"),
        "attack_epsilon": scenario.get("attack-epsilon"),
        "attack_norm": scenario.get("attack-norm"),
    }
    return GameResult.of(folder, played.specification, played.result, attack)


def trained_model(folder: Path) -> nn.Module:
    """Return the network of the finished game in a run folder; see `GameResult.model`."""
    played = finished_run(folder)
    specification = Specification.model_validate(played.specification)
    root = (played.scenario or {}).get("data-root")
    digest = (played.environment or {}).get("dataset_sha256")
    source = Source(None if root is None else Path(str(root)))
    return model_of(played, specification, load_split(specification, source, dataset_sha256=digest))


def model_of(played: PlayedRun, specification: Specification, split: Split) -> nn.Module:
    """Load a finished run's model from its checkpoint, and verify the parameters' digest.

    Args:
        played: the finished run, read from its folder.
        specification: its specification.
        split: its data, which determine the shape of the input and the number of classes.

    Raises:
        midstream.storage.run_files.DamagedRunError: there is no checkpoint, or its parameters differ from
            those of the result.
    """
    assert played.folder is not None
    assert played.result is not None
    path = played.folder / NEWEST
    checkpoint = read_checkpoint(path)
    if checkpoint is None:
        raise DamagedRunError(f"{path} is missing: it should hold the parameters of the finished run")
    parameters = {
        name.removeprefix("model."): value
        for name, value in checkpoint.tensors.items()
        if name.startswith("model.")
    }
    if tensors_sha256(parameters) != played.result["parameters_sha256"]:
        raise DamagedRunError(
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
    return model.eval()
