"""What a run folder holds of a finished game: its result, and the trained network."""

from pathlib import Path

import click
from torch import nn

from midstream.command.api.result import GameResult
from midstream.command.runs.finished import finished, model_of, specification_of
from midstream.command.runs.played import PlayedRun
from midstream.errors import MidstreamError
from midstream.run.batches import load_split
from midstream.run.datasets import Source
from midstream.storage.run_files import DamagedRunError


class NotFinishedError(MidstreamError, ValueError):
    """A folder holds no finished game; the message says what it holds."""


def load(folder: Path) -> GameResult:
    """Return the result of the finished game in a run folder; see `GameResult.load`."""
    played = _finished(folder)
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
    played = _finished(folder)
    root = (played.scenario or {}).get("data-root")
    source = Source(None if root is None else Path(str(root)))
    digest = (played.environment or {}).get("dataset_sha256")
    try:
        specification = specification_of(played)
        split = load_split(specification, source, dataset_sha256=digest)
        return model_of(played, specification, split).requires_grad_(True)
    except click.ClickException as error:
        raise DamagedRunError(error.format_message()) from error


def _finished(folder: Path) -> PlayedRun:
    try:
        return finished(str(folder))
    except click.UsageError as error:
        raise NotFinishedError(error.format_message()) from error
