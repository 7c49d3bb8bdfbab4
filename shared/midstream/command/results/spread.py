"""Mean, sample standard deviation and count of repeated measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean, stdev


@dataclass(frozen=True)
class Spread:
    """The spread of n measurements.

    Attributes:
        mean: their mean.
        deviation: the sample standard deviation, `sqrt(Σ (x - mean)² / (n - 1))`; None if n is 1, NaN if a
            measurement is infinite or NaN.
        n: their count.
    """

    mean: float
    deviation: float | None
    n: int

    def __str__(self) -> str:
        """Return mean and deviation.

        >>> str(Spread(0.5, 0.01, 3))
        '0.500 ± 0.010'
        """
        return rounded(self.mean) + ("" if self.deviation is None else f" ± {rounded(self.deviation)}")


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one measurement. The order of the values does not change a bit of it.

    >>> spread([1.0, 2.0, 3.0])
    Spread(mean=2.0, deviation=1.0, n=3)
    """
    if len(values) == 1:
        return Spread(values[0], None, 1)
    if not all(map(isfinite, values)):
        return Spread(sum(values), nan, len(values))  # `statistics` fails at infinite values
    return Spread(fmean(values), stdev(values), len(values))


def rounded(number: float) -> str:
    """Return a number with three decimals, or four digits if it has more than one before the point.

    >>> rounded(0.38), rounded(600.0)
    ('0.380', '600')
    """
    return f"{number:.3f}" if abs(number) < 10 else f"{number:.4g}"
