"""The paper's rules for level k: the step size Δ_k (Theorem 3) and the number of steps n_k (B.3.2)."""

import math
from collections.abc import Sequence


def step_size_by_rule(k: int, *, smoothness: float, epsilon: float) -> float:
    """Return `Δ_k = 1 / (M² k² (1 + 2Mε)^(k-2))` (paper Theorem 3).

    Args:
        k: the level, at least 2.
        smoothness: M.
        epsilon: ε, in pixel units.

    >>> round(1 / step_size_by_rule(4, smoothness=0.203, epsilon=3.0), 3)
    3.244
    """
    try:
        slope = smoothness**2 * k**2 * (1 + 2 * smoothness * epsilon) ** (k - 2)
    except OverflowError:
        return 0.0
    return 1 / slope if slope else math.inf


def steps_by_rule(k: int, *, smoothness: float, epsilon: float, c: float) -> int:
    """Return `n_k = max(k, ⌈c / Δ_k⌉)`, the number of PGD steps at level k (paper B.3.2).

    Args:
        k: the level, at least 2.
        smoothness: M; the paper estimates 0.203 (MNIST), 0.351 (CIFAR-10) and 1.04 (256×256 photos).
        epsilon: ε, in pixel units.
        c: 2 (MNIST), 0.5 (CIFAR-10), 0.01 (256×256 photos); see `constant_of_rule`.

    Raises:
        ValueError: there is no such number, because M is NaN or too large.

    >>> [steps_by_rule(k, smoothness=0.203, epsilon=3.0, c=2.0) for k in (2, 3, 4)]
    [2, 3, 7]
    """
    size = step_size_by_rule(k, smoothness=smoothness, epsilon=epsilon)
    if not size > 0 or math.isinf(c / size):
        raise ValueError(
            f"M = {smoothness:g}, ε = {epsilon:g} and c = {c:g} give no number of PGD steps at level {k}; "
            f"say how many, as level-{k},steps=3"
        )
    return max(k, math.ceil(c / size))


def constant_of_rule(input_shape: Sequence[int]) -> float:
    """Return c of `steps_by_rule` for an input shape: 2, 0.5 or 0.01 (paper B.3.2).

    The paper gives c for its three data sets only. A player sees the data but not their name. M grows with
    the number of pixels, and c compensates for it; so images get the c of the paper's data set of about
    their size. The smaller side decides, with the bounds of `midstream.networks.classifiers.auto`. Inputs
    that are not images get 2, which gives the most steps.

    Args:
        input_shape: shape of one input, `(channels, height, width)` for an image.

    >>> [constant_of_rule(shape) for shape in [(1, 28, 28), (3, 32, 32), (3, 256, 256), (20,)]]
    [2.0, 0.5, 0.01, 2.0]
    """
    if len(input_shape) != 3 or min(input_shape[1:]) <= 28:
        return 2.0
    return 0.5 if min(input_shape[1:]) < 128 else 0.01
