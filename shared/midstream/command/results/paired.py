"""Paired differences: the same seeds played under two settings, with a confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from midstream.command.results.spread import rounded, spread
from midstream.command.results.table import Settings, TableError
from midstream.command.sweep.trial import Setting

Key = tuple[tuple[str, Setting], ...]

# An attacker's target and the files of plug-ins come with the player, and do not part a pair.
_OF_A_PLAYER = ("target", "sources")


@dataclass(frozen=True)
class PairedDifference:
    """The mean of n differences between paired measurements, with its confidence interval.

    Attributes:
        mean: mean of the differences, first minus second.
        deviation: sample standard deviation of the differences; None if n is 1.
        n: number of pairs.
        low: lower end of the interval; None if n is 1.
        high: upper end of the interval; None if n is 1.
        confidence: probability with which such an interval covers the true mean, in (0, 1).
    """

    mean: float
    deviation: float | None
    n: int
    low: float | None
    high: float | None
    confidence: float

    def __str__(self) -> str:
        """Return the mean and the interval.

        >>> str(PairedDifference(-0.5, 0.1, 3, -0.748, -0.252, 0.95))
        '-0.500 [-0.748, -0.252]'
        """
        if self.low is None or self.high is None:
            return rounded(self.mean)
        return f"{rounded(self.mean)} [{rounded(self.low)}, {rounded(self.high)}]"


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95
) -> PairedDifference:
    """Return the mean difference of paired measurements and its confidence interval.

    The interval is `mean ± t s / sqrt(n)` with the standard deviation `s` of the differences and the quantile
    `t` of Student's distribution with n - 1 degrees of freedom at `(1 + confidence) / 2`. It assumes that the
    differences are drawn from a normal distribution.

    Args:
        first: measurements under the first setting, at least one.
        second: measurements under the second setting, in the same order of seeds.
        confidence: probability with which such an interval covers the true mean, in (0, 1).

    Raises:
        ValueError: the two have different lengths, or the confidence is not in (0, 1).

    >>> found = paired_difference([0.50, 0.54, 0.52], [0.30, 0.31, 0.32])
    >>> f"{found.mean:.4f} from {found.low:.4f} to {found.high:.4f}"
    '0.2100 from 0.1670 to 0.2530'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is {confidence}, not a number between 0 and 1")
    found = spread([one - other for one, other in zip(first, second, strict=True)])
    if found.deviation is None:
        return PairedDifference(found.mean, None, 1, None, None, confidence)
    from scipy.special import stdtrit  # takes longer to import than a table takes to print

    quantile = float(stdtrit(found.n - 1, (1 + confidence) / 2))
    half = quantile * found.deviation / sqrt(found.n)
    return PairedDifference(
        found.mean, found.deviation, found.n, found.mean - half, found.mean + half, confidence
    )


def differences(
    points: Sequence[tuple[Settings, float]],
    *,
    setting: str,
    first: Setting,
    second: Setting,
    confidence: float,
) -> list[tuple[dict[str, Setting], PairedDifference]]:
    """Return the paired differences between two values of a setting, over the seeds that both have.

    Args:
        points: the settings and the value of each trial.
        setting: the setting that differs within a pair.
        first: its first value.
        second: its second value, which is subtracted.
        confidence: as for `paired_difference`.

    Returns:
        For each combination of the other settings: those that vary, and the difference.

    Raises:
        TableError: no two trials differ only in this setting and have these values, or it is not clear which
            two make a pair.
    """
    sides: list[dict[Key, float]] = [{}, {}]
    for settings, number in points:
        for side, wanted in zip(sides, (first, second), strict=True):
            if _is(settings.get(setting), wanted):
                key = _key(settings, setting)
                if key in side:
                    raise TableError(
                        f"two trials with {setting} {wanted} and seed {settings.get('seed')} differ only in "
                        f"{' or '.join(_OF_A_PLAYER)}: it is not clear which one makes a pair"
                    )
                side[key] = number
    pairs = [key for key in sides[0] if key in sides[1]]
    if not pairs:
        known = ", ".join(dict.fromkeys(str(settings.get(setting)) for settings, _ in points))
        raise TableError(
            f"no two trials differ only in {setting}, with {first} and {second}; it has the values {known}"
        )
    groups: dict[Key, list[Key]] = {}
    for key in pairs:
        groups.setdefault(tuple(item for item in key if item[0] != "seed"), []).append(key)
    shared = set.intersection(*(set(group) for group in groups))
    return [
        (
            {name: value for name, value in group if (name, value) not in shared},
            paired_difference(
                [sides[0][key] for key in keys], [sides[1][key] for key in keys], confidence=confidence
            ),
        )
        for group, keys in groups.items()
    ]


def _is(value: Setting, wanted: Setting) -> bool:
    if isinstance(value, float):
        try:
            return value == float(str(wanted))
        except ValueError:
            return False
    return str(value) == str(wanted)


def _key(settings: Settings, setting: str) -> Key:
    left_out = (setting, *_OF_A_PLAYER)
    return tuple((name, value) for name, value in settings.items() if name not in left_out)
