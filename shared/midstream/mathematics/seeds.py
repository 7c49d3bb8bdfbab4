"""Every random draw derives from (seed, what it is for), and from nothing that happened before."""

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
    """Let layers draw from random numbers seeded by `derive`, and put torch's own back afterwards.

    Layers such as dropout take no generator, so torch's global one is lent out: to one thread at a time.

    Args:
        device: where the layers compute.
        seed: the run's seed.
        purpose: what is drawn.

    >>> def drawn() -> float:
    ...     with seeded(torch.device("cpu"), 0, 7, "dropout"):
    ...         return torch.rand(()).item()
    >>> drawn() == drawn()
    True
    """
    with _GLOBAL, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        one = torch.default_generator if device.type == "cpu" else torch  # whose own call is a slow one
        one.manual_seed(derive(seed, *purpose))
        yield


def permutation(size: int, seed: int, *purpose: int | str) -> NDArray[np.int64]:
    """Return a random order of `range(size)`.

    It is the argsort of a SHAKE-128 stream, so it stays the same for ever: no library's random
    numbers enter it.

    >>> permutation(5, 0, "example").tolist()
    [2, 1, 4, 3, 0]
    """
    keys = np.frombuffer(_stream(8 * size, seed, *purpose), dtype="<u8")
    return np.argsort(keys, kind="stable")


def _stream(length: int, seed: int, *purpose: int | str) -> bytes:
    return shake_128("/".join(map(str, ("midstream", seed, *purpose))).encode()).digest(length)
