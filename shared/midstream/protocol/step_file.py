"""An optimizer's state between two steps as a safetensors file: moments as tensors, settings as metadata."""

import json

from midstream.mathematics.training_step import Adam, Sgd, TrainingStep
from midstream.protocol.wire import WireError, decode_tensors, encode_tensors

_ADAM = {"learning_rate": float, "beta1": float, "beta2": float, "epsilon": float, "count": int}


def encode_step(step: TrainingStep, *, run: str, parameters_version: int) -> bytes:
    """Encode an optimizer's state as one safetensors file, with moments named `first/…` and `second/…`.

    Args:
        step: a `Sgd` or an `Adam`, the step of an optimizer with one parameter group.
        run: the run's name.
        parameters_version: the version of the θ that it will step from.

    Raises:
        ValueError: the step is neither.

    >>> decode_step(encode_step(Sgd(0.1), run="digits-1", parameters_version=0))
    Sgd(learning_rate=0.1)
    """
    kinds = {Sgd: ("sgd", ["learning_rate"]), Adam: ("adam", list(_ADAM))}
    if type(step) not in kinds:
        raise ValueError(f"a {type(step).__name__} step cannot be encoded; only Sgd and Adam can")
    kind, settings = kinds[type(step)]
    tensors = {f"{moment}/{name}": value for moment, of in step.moments.items() for name, value in of.items()}
    described = {name: repr(getattr(step, name)) for name in settings}  # repr is read back exactly
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
        kind = described["optimizer"]
        if kind == "sgd":
            return Sgd(float(described["learning_rate"]))
        if kind == "adam":
            settings = {name: convert(described[name]) for name, convert in _ADAM.items()}
            first, second = (
                {name.partition("/")[2]: t for name, t in tensors.items() if name.startswith(f"{moment}/")}
                for moment in ("first", "second")
            )
            counts = {name: int(count) for name, count in json.loads(described.get("counts", "{}")).items()}
            return Adam(**settings, first=first, second=second, counts=counts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WireError(f"the body does not describe an optimizer: {error!r}") from error
    raise WireError(f"the optimizer is {kind!r}; it must be sgd or adam")
