"""Games of a few steps, by command and by class."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from midstream.protocol.specification import Specification
from midstream_server.runs.training import TrainingRun
from services import tiny
from services.conftest import Ended


def training(**settings: Any) -> TrainingRun:
    specification = Specification.model_validate(tiny.SPECIFICATION | settings)
    return TrainingRun(specification, tiny.split(), device=torch.device("cpu"))


def played(midstream: Callable[..., Ended], *words: str) -> dict[str, Any]:
    game = ["play", "--train-size", "25", "--validation-size", "40", "--batch-size", "10", "--epochs", "2"]
    ended = midstream(*game, "--threads", "1", "--device", "cpu", "--json", *words)
    assert ended.code == 0, ended.err
    outcome: dict[str, Any] = json.loads(ended.out)
    return outcome


Midstream = Callable[..., Ended]

GAME = ["play", "--train-size", "25", "--validation-size", "40", "--batch-size", "10", "--threads", "1"]

TRANSPORTS = [pytest.param("http", marks=pytest.mark.process), "local"]
"""What `--transport` takes: three processes, or one."""
