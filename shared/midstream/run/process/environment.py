"""The environment that affects a result's bits: versions, device and threads."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import torch

from midstream.plugins.naming import LIBRARIES
from midstream.run.process.affecting_bits import AFFECTING_BITS
from midstream.run.process.freed_memory import keep_freed_memory
from midstream.run.process.precision import choose
from midstream.run.process.precision import chosen as chosen_precision
from midstream.run.process.precisions import Precision
from midstream.run.process.without_compiler import defer_compiler


def configure(*, threads: int | None, device: str, precision: Precision = "float32") -> torch.device:
    """Set thread count and precision, and return the device; `auto` selects the first GPU, if there is one.

    Results are bit-identical only for equal settings on equal devices, so every run records all three.

    Raises:
        ValueError: the device cannot be used, or does not have that precision.
    """
    defer_compiler()
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here: {reason}") from error
    if chosen.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # none is read
        torch.cuda.set_device(chosen)  # graphs are captured on the current device
    choose(precision, chosen)
    return chosen


_UNRECORDED = {"precision": "float32"}
"""What an environment was if it does not say: that of an earlier midstream, which knew no other."""


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Describe the differences between two environments in the fields that affect bits.

    >>> differences({"torch": "2.10.0", "threads": 2}, {"torch": "2.10.0", "threads": 1})
    ['threads 2, here 1']
    """
    before, now = {**_UNRECORDED, **before}, {**_UNRECORDED, **now}
    return [
        f"{name} {before[name]}, here {now.get(name)}"
        for name in AFFECTING_BITS
        if name in before and before[name] != now.get(name)
    ]


def library_versions(model: str) -> dict[str, str]:
    """Return the version of the library that a model is from; empty for a model of midstream's or your own.

    >>> library_versions("mnist-cnn"), list(library_versions("torchvision:resnet18"))
    ({}, ['torchvision'])
    """
    library = model.partition(":")[0]
    try:
        return {library: version(library)} if library in LIBRARIES else {}
    except PackageNotFoundError:
        return {}


def describe(device: torch.device) -> dict[str, str | int]:
    """Return the environment, as recorded in a run folder: versions, device and thread count."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "midstream": version("midstream"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": name or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": chosen_precision(),
    }
