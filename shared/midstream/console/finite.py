"""Click types for finite numbers."""

import math
from typing import Any

import click
from click.types import FloatParamType


class Finite(FloatParamType):
    """A float that is neither NaN nor infinite.

    Args:
        least: inclusive lower bound; None for no bound.
        above: exclusive lower bound; None for no bound.
    """

    def __init__(self, *, least: float | None = None, above: float | None = None) -> None:
        self._least, self._above = least, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number.

        Raises:
            click.BadParameter: the value is not a number, not finite or out of bounds.
        """
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        if self._least is not None and number < self._least:
            self.fail(f"{number:g} is not at least {self._least:g}", param, ctx)
        if self._above is not None and number <= self._above:
            self.fail(f"{number:g} is not above {self._above:g}", param, ctx)
        return number


FINITE = Finite()
NOT_NEGATIVE = Finite(least=0)
POSITIVE = Finite(above=0)
