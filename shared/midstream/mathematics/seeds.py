"""Random numbers seeded by (seed, purpose) only, independent of any earlier draw."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import shake_128
from threading import RLock

import numpy as np
import torch
from numpy.typing import NDArray

_GLOBAL = RLock()


def derive(seed: int, *purpose: int | str) -> int:
    """Return a 63-bit seed for one purpose, such as `derive(seed, seq, "attacker")`.

    >>> derive(0, 7, "attacker") == derive(0, 7, "attacker") != derive(0, 8, "attacker")
    True
    """
    return int.from_bytes(_stream(8, seed, *purpose), "little") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Return a torch generator on the CPU, seeded by `derive`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


@contextmanager
def seeded(device: torch.device, seed: int, *purpose: int | str) -> Iterator[None]:
    """Seed torch's global random numbers by `derive` within this context, and restore them afterwards.

    Layers such as dropout accept no generator and use torch's global one, so only one thread at a time may be
    in this context; others wait.

    Args:
        device: the device on which the layers compute.
        seed: the run's seed.
        purpose: what the numbers are for.

    >>> def drawn() -> float:
    ...     with seeded(torch.device("cpu"), 0, 7, "dropout"):
    ...         return torch.rand(()).item()
    >>> drawn() == drawn()
    True
    """
    with _GLOBAL, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for one in _global_generators(device):  # torch.manual_seed takes 80 times as long
            one.manual_seed(derive(seed, *purpose))
        yield


def _global_generators(device: torch.device) -> list[torch.Generator]:
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


def permutation(size: int, seed: int, *purpose: int | str) -> NDArray[np.int64]:
    """Return a random order of `range(size)`.

    It is the argsort of a SHAKE-128 stream. No library's random numbers are involved, so it never changes
    with a version.

    >>> permutation(5, 0, "example").tolist()
    [2, 1, 4, 3, 0]
    """
    keys = np.frombuffer(_stream(8 * size, seed, *purpose), dtype="<u8")
    return np.argsort(keys, kind="stable")


def _stream(length: int, seed: int, *purpose: int | str) -> bytes:
    return shake_128("/".join(map(str, ("midstream", seed, *purpose))).encode()).digest(length)
