"""Batches that are dictionaries, such as `{"pixel_values": …, "labels": …}`."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Entries:
    """Which entries of a batch are the inputs and the targets.

    Attributes:
        inputs: name of the inputs.
        targets: name of the targets.
    """

    inputs: str
    targets: str

    def __post_init__(self) -> None:
        if self.inputs == self.targets:
            raise ValueError(f"entries name {self.inputs!r} twice; give the inputs' and the targets' name")

    def of(self, batch: Mapping[str, Any], network: nn.Module) -> tuple[Any, Any]:
        """Return the inputs and the targets of a batch.

        Raises:
            ValueError: an entry is missing, or the network takes another entry of the batch, too.
        """
        for name in (self.inputs, self.targets):
            if name not in batch:
                raise ValueError(f"the batch has no entry {name!r}, only {', '.join(map(repr, batch))}")
        taken = _names(network) - {self.inputs, self.targets}
        if both := sorted(name for name in batch if name in taken and batch[name] is not None):
            raise ValueError(
                f"the batch has an entry {both[0]!r}, which {type(network).__name__} takes beside "
                f"{self.inputs!r}: without it, the derivatives would be those of another function. Take the "
                f"entry out of the batch, or wrap the model in a module that takes {self.inputs!r} only"
            )
        return batch[self.inputs], batch[self.targets]

    def keyword(self, network: nn.Module) -> str | None:
        """Return the name under which the network takes the inputs; None if it takes them by position."""
        return self.inputs if self.inputs in _names(network) else None


def _names(network: nn.Module) -> set[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(network.forward).parameters.values()
    return {parameter.name for parameter in found if parameter.kind in kinds}
