"""Ranks share the derivatives of cross-entropy only: with another loss, a run has the bits of one process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ranks_in_threads import Ranks, ranks_in_threads
from torch import Tensor, nn

import midstream
from midstream.run.ranks.here import lead
from midstream.run.ranks.shared_model import SharedModel
from midstream.run.ranks.work import Description

OWN = """
import torch

def doubled(outputs, targets):
    return 2 * torch.nn.functional.cross_entropy(outputs, targets, reduction="sum")
"""
SETTINGS: dict[str, Any] = {
    **{"train_size": 25, "validation_size": 40, "batch_size": 10, "epochs": 1},
    **{"attacker": "level-1,beta=0.5", "defender": "level-1", "gradient": "own"},
    **{"threads": 1, "device": "cpu", "run": "game", "follow": lambda *_: None},
}


@contextmanager
def led() -> Iterator[Ranks]:
    """Share every model of this process with a second rank."""
    with ranks_in_threads() as ranks:

        def share(
            model: nn.Module, description: Mapping[str, Any], validation: tuple[Tensor, Tensor]
        ) -> None:
            SharedModel(ranks.leader, model, Description.read(description), validation)

        lead(share, world=2)
        try:
            yield ranks
        finally:
            lead(None)


@pytest.mark.parametrize("task", ["regression", "labels", "own loss", "cross-entropy"])
def test_only_the_derivatives_of_cross_entropy_are_shared(tmp_path: Path, task: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    named: dict[str, dict[str, Any]] = {
        "regression": {"dataset": "diabetes"},
        "labels": {"dataset": "digit-traits"},
        "own loss": {"loss": f"{file}:doubled"},
        "cross-entropy": {},
    }
    settings = SETTINGS | named[task]
    alone = midstream.play(**settings, out=tmp_path / "alone")
    with led() as ranks:
        shared = midstream.play(**settings, out=tmp_path / "shared")
        asked = [*ranks.followers[0]._models]
    assert not ranks.said
    assert bool(asked) == (task == "cross-entropy")
    assert (shared.parameters_sha256 == alone.parameters_sha256) == (task != "cross-entropy")
