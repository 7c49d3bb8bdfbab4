"""The defenders of niteshade (Vassallo et al. 2022) as players, so that they face the same stream.

`FeasibleSet` and `Softmax` reject examples, so they play as checkers with `action=drop`. `Relabel` changes
labels, so it plays as a defender. All start from Dval. They ask niteshade's own classes; this file needs
`pip install niteshade==0.1.4`, of which only the module `defence` is loaded.
"""

from collections.abc import Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from midstream import Batch, Suspicion, View, pixels


def _niteshade() -> Any:
    """Return niteshade's module of defenders. Its package also loads plots, which need older libraries."""
    found = find_spec("niteshade")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("niteshade is not installed: pip install niteshade==0.1.4")
    spec = spec_from_file_location(
        "niteshade_defence", Path(found.submodule_search_locations[0]) / "defence.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _known(view: View) -> tuple[Any, Any]:
    return pixels(view.validation_inputs).flatten(1).numpy(), view.validation_labels.numpy()


def _suspicion(accepted: list[bool]) -> Suspicion:
    """Return 1 for a rejected example and 0 for another; the batch's suspicion is the share rejected."""
    rejected = 1 - torch.tensor(accepted, dtype=torch.float32)
    return Suspicion(rejected, rejected.mean())


class FeasibleSet:
    """Rejects an example that lies far from its class's centre (niteshade's `FeasibleSetDefender`).

    The centres start at Dval's and move with each accepted example. niteshade leaves the distance to the
    user: here it is the quantile of Dval's distances.

    Args:
        quantile: share of Dval that lies nearer than the distance.
    """

    def __init__(self, *, quantile: float = 0.95) -> None:
        self.quantile = quantile
        self._defender: Any = None
        self._loaded: Mapping[str, Tensor] = {}

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Ask niteshade for each example in turn, as its own loop does."""
        if self._defender is None:
            self._defender = self._made(view)
        inputs, labels = batch.inputs.flatten(1).numpy(), batch.labels.numpy()
        return _suspicion(
            [
                len(self._defender.defend(inputs[row : row + 1], labels[row : row + 1])[0]) > 0
                for row in range(len(labels))
            ]
        )

    def _made(self, view: View) -> Any:
        inputs, labels = _known(view)
        centres = {label: inputs[labels == label].mean(0) for label in np.unique(labels)}
        apart = [np.linalg.norm(row - centres[label]) for row, label in zip(inputs, labels, strict=True)]
        made = _niteshade().FeasibleSetDefender(inputs, labels, float(np.quantile(apart, self.quantile)))
        for name, value in self._loaded.items():
            kind, _, label = name.partition(".")
            getattr(made, kind)[int(label)] = value.numpy() if kind == "feasible_set" else int(value)
        return made

    def state_dict(self) -> dict[str, Tensor]:
        """Return the centres and the numbers of examples behind them."""
        if self._defender is None:
            return dict(self._loaded)
        return {
            f"{kind}.{label}": torch.as_tensor(value)
            for kind in ("feasible_set", "_label_counts")
            for label, value in getattr(self._defender, kind).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._defender, self._loaded = None, dict(state)


class Softmax:
    """Rejects an example to whose label the live model gives a small probability (`SoftmaxDefender`).

    Args:
        probability: the smallest that it accepts; niteshade's default.
    """

    def __init__(self, *, probability: float = 0.05) -> None:
        self.probability = probability
        self._defender: Any = None

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Ask niteshade for each example in turn, so that it tells which ones it accepts."""
        if self._defender is None:
            self._defender = _niteshade().SoftmaxDefender(self.probability, one_hot=False)
        model = nn.Sequential(view.model, nn.Softmax(dim=1))
        return _suspicion(
            [
                len(self._defender.defend(batch.inputs[[row]], batch.labels[[row]], model)[0]) > 0
                for row in range(len(batch.labels))
            ]
        )


class Relabel:
    """Gives an example the label of most of its neighbours (niteshade's `KNN_Defender`, Paudice et al. 2018).

    The neighbours are Dval and all examples that came before, with the labels that it gave them.

    Args:
        neighbours: how many.
        confidence: share of them above which their label replaces the example's.
    """

    def __init__(self, *, neighbours: int = 5, confidence: float = 0.5) -> None:
        self.neighbours, self.confidence = neighbours, confidence
        self._defender: Any = None
        self._loaded: Mapping[str, Tensor] = {}

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return torch.zeros_like(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the batch with niteshade's labels."""
        if self._defender is None:
            self._defender = _niteshade().KNN_Defender(*_known(view), self.neighbours, self.confidence)
            if self._loaded:
                self._defender.training_dataset_x = self._loaded["inputs"].numpy()
                self._defender.training_dataset_y = self._loaded["labels"].numpy()
        _, labels = self._defender.defend(batch.inputs.flatten(1).numpy(), batch.labels.numpy().copy())
        return Batch(batch.seq, batch.inputs, torch.from_numpy(labels.astype(np.int64)))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the examples that it has seen."""
        if self._defender is None:
            return dict(self._loaded)
        found = self._defender
        return {
            "inputs": torch.from_numpy(found.training_dataset_x),
            "labels": torch.from_numpy(found.training_dataset_y),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._defender, self._loaded = None, dict(state)
