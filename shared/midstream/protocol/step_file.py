"""An optimizer's state between two steps as a safetensors file: moments as tensors, settings as metadata."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from midstream.mathematics.optimizers.momentum_sgd import MomentumSgd
from midstream.mathematics.optimizers.rmsprop import Rmsprop
from midstream.mathematics.optimizers.training_step import Adam, Sgd, TrainingStep
from midstream.protocol.wire import WireError, decode_tensors, encode_tensors


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


@dataclass(frozen=True)
class _Kind:
    """A kind of optimizer in the file's metadata: its class, its settings, its moments, and what it fixes."""

    of: Callable[..., Any]
    settings: Mapping[str, Callable[[str], Any]]
    moments: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)


_ADAM = {"learning_rate": float, "beta1": float, "beta2": float, "epsilon": float, "count": int}
_DECAYED = _ADAM | {"weight_decay": float}
_BOTH = ("first", "second")
_RMSPROP = {
    "learning_rate": float,
    "alpha": float,
    "epsilon": float,
    "momentum": float,
    "weight_decay": float,
}
_SGD: dict[str, Callable[[str], Any]] = {
    "learning_rate": float,
    "momentum": float,
    "dampening": float,
    "nesterov": _flag,
    "weight_decay": float,
}

# Each kind that has more than an older one has a name of its own, so that an older reader refuses it.
_KINDS = {
    "sgd": _Kind(Sgd, {"learning_rate": float}),
    "sgd-momentum": _Kind(MomentumSgd, _SGD, ("velocity",)),
    "adam": _Kind(Adam, _ADAM, _BOTH),
    "adam-l2": _Kind(Adam, _DECAYED, _BOTH),
    "adamw": _Kind(Adam, _DECAYED, _BOTH, {"decoupled": True}),
    "rmsprop": _Kind(Rmsprop, _RMSPROP, ("second", "velocity")),
}


def _kind_of(step: TrainingStep) -> str:
    if isinstance(step, Adam):
        return "adam" if not step.weight_decay else "adamw" if step.decoupled else "adam-l2"
    for name, kind in _KINDS.items():
        if type(step) is kind.of:
            return name
    raise ValueError(f"a {type(step).__name__} step cannot be encoded; only one optimizer's own can")


def encode_step(step: TrainingStep, *, run: str, parameters_version: int) -> bytes:
    """Encode an optimizer's state as one safetensors file, with moments named `first/…` and so on.

    Args:
        step: a `Sgd`, `MomentumSgd`, `Adam` or `Rmsprop`, the step of an optimizer with one parameter group.
        run: the run's name.
        parameters_version: the version of the θ that it will step from.

    Raises:
        ValueError: the step is none of these.

    >>> decode_step(encode_step(Sgd(0.1), run="digits-1", parameters_version=0))
    Sgd(learning_rate=0.1)
    """
    kind = _kind_of(step)
    moments = {moment: step.moments[moment] for moment in _KINDS[kind].moments}
    tensors = {f"{moment}/{name}": value for moment, of in moments.items() for name, value in of.items()}
    # repr is read back exactly
    described = {name: repr(getattr(step, name)) for name in _KINDS[kind].settings}
    if isinstance(step, Adam) and step.counts:
        described["counts"] = json.dumps(dict(step.counts))
    whose = {"run": run, "parameters_version": str(parameters_version), "optimizer": kind}
    return encode_tensors(tensors, **whose, **described)


def decode_step(body: bytes) -> TrainingStep:
    """Decode a file from `encode_step`.

    Raises:
        WireError: it is not such a file, or it names an unknown optimizer.
    """
    tensors = decode_tensors(body)
    try:
        described = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]
        name = described["optimizer"]
        kind = _KINDS.get(name)
        if kind is not None:
            values = {key: convert(described[key]) for key, convert in kind.settings.items()}
            for moment in kind.moments:
                inside = f"{moment}/"
                values[moment] = {
                    key.removeprefix(inside): t for key, t in tensors.items() if key.startswith(inside)
                }
            if kind.of is Adam:
                counts = json.loads(described.get("counts", "{}"))
                values["counts"] = {key: int(count) for key, count in counts.items()}
            step: TrainingStep = kind.of(**values, **kind.fixed)
            return step
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WireError(f"the body does not describe an optimizer: {error!r}") from error
    raise WireError(f"the optimizer is {name!r}; it must be one of {', '.join(_KINDS)}")
