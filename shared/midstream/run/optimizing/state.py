"""An optimizer's whole state as tensors, so that a checkpoint holds it and a resume restores its bits."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.errors import MidstreamError
from midstream.players.course import load_optimizer_state, optimizer_state
from midstream.players.culprit import place
from midstream.run.optimizing.optimizers import OPTIMIZERS, make_optimizer

_REST = "rest"
"""Name of what is no tensor in the state of an optimizer of your own, as JSON in bytes."""


class OptimizerStateError(MidstreamError, ValueError):
    """The state of an optimizer of your own cannot be saved, or does not come back as it was."""


def state_of(optimizer: Optimizer, text: str) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors: its own under `NUMBER.KEY`, and whatever else under `rest`.

    Args:
        optimizer: the optimizer.
        text: how the run names it.

    Raises:
        OptimizerStateError: the state holds something that is neither a tensor nor a JSON value.
    """
    if _is_built_in(text):
        return optimizer_state(optimizer)
    tensors, rest = _divided(optimizer.state_dict())
    try:
        written = json.dumps(rest, sort_keys=True, allow_nan=True)
    except TypeError as error:
        raise OptimizerStateError(
            f"the state of optimizer {text!r} cannot be saved, so no run with it could resume: {error}; keep "
            f"tensors, numbers and texts in it"
        ) from error
    return tensors | {_REST: torch.frombuffer(bytearray(written.encode()), dtype=torch.uint8)}


def load_state(optimizer: Optimizer, saved: Mapping[str, Tensor], text: str) -> None:
    """Restore what `state_of` returned.

    Raises:
        OptimizerStateError: the optimizer's state is not the saved one afterwards.
    """
    if _is_built_in(text):
        load_optimizer_state(optimizer, saved)
        return
    tensors = {name: value for name, value in saved.items() if name != _REST}
    rest = json.loads(bytes(saved[_REST].cpu().tolist()))
    state: dict[int, dict[str, Any]] = {int(number): values for number, values in rest["state"].items()}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    now = optimizer.state_dict()["param_groups"]
    groups = [{**group, **kept} for group, kept in zip(now, rest["param_groups"], strict=True)]
    optimizer.load_state_dict({**rest["more"], "state": state, "param_groups": groups})
    found = state_of(optimizer, text)
    for name, value in saved.items():
        if name in found and found[name].dtype == value.dtype and torch.equal(found[name].cpu(), value.cpu()):
            continue
        raise OptimizerStateError(
            f"optimizer {text!r} does not come back as it was saved: {name!r} of its state_dict differs "
            f"after load_state_dict, so a resumed run would end in other bits"
        )


def rehearse(text: str, *, allowed: Collection[str] | None) -> None:
    """Step by an optimizer of your own on a small matrix, save its state, and restore it in another one.

    Raises:
        OptimizerStateError: that failed, so that no run with the optimizer could resume.
        midstream.plugins.PluginError: as for `make_optimizer`.
    """
    if _is_built_in(text):
        return
    one, other = (nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    stepped, fresh = (make_optimizer(text, [p], 1e-3, allowed=allowed) for p in (one, other))
    one.grad = torch.ones(2, 2)
    try:
        stepped.step()
    except Exception as error:
        raise OptimizerStateError(
            f"optimizer {text!r} failed at a step on a matrix of 2×2: {error!r}{place(error)}"
        ) from error
    load_state(fresh, state_of(stepped, text), text)


def _is_built_in(text: str) -> bool:
    return text.partition(",")[0].strip() in OPTIMIZERS


def _divided(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors of a state_dict by name, and everything else."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, dict[str, Any]] = {}
    for number, values in state["state"].items():
        rest[str(number)] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{key}"] = value.clone()
            else:
                rest[str(number)][key] = value
    groups = [
        {key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]
    ]
    more = {key: value for key, value in state.items() if key not in ("state", "param_groups")}
    return tensors, {"state": rest, "param_groups": groups, "more": more}
