"""The tiny run in training, without a server."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from services import tiny
from torch import Tensor

from midstream import Batch, View
from midstream.protocol.specification import Specification
from midstream_server.runs.training import TrainingRun


def run(defender: Any, **settings: Any) -> TrainingRun:
    """Return the tiny run, with a defender by name or an object."""
    text = defender if isinstance(defender, str) else "none"
    specification = Specification.model_validate(tiny.SPECIFICATION | {"defender": text} | settings)
    made = TrainingRun(specification, tiny.split(), device=torch.device("cpu"))
    if not isinstance(defender, str):
        made.defender = defender
    return made


@cache
def batch(seq: int = 0) -> Batch:
    arrived = tiny.batch(seq)
    return Batch(seq, arrived.inputs.float(), arrived.labels)


def state(made: TrainingRun) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Idle:
    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(batch.inputs)
