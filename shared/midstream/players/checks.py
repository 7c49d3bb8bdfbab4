"""Conditions on a batch, read back from the device together before the batch is trained on."""

from collections.abc import Callable

import torch
from torch import Tensor


class Number:
    """A number on the device; its value is known once the checks that it belongs to are settled."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()
        self._value: float | None = None

    @property
    def value(self) -> float:
        """The number."""
        if self._value is None:
            raise RuntimeError("this number has not been read yet: call settle() first")
        return self._value

    def read(self, value: float) -> None:
        """Take the value that was read from the device."""
        self._value = value


class Checks:
    """Conditions and numbers of one batch. They stay on the device until `settle` reads them in one transfer.

    Each transfer makes the host wait for the device, so a step has one. Nothing that depends on a batch may
    be kept before its conditions are settled.

    >>> checks = Checks()
    >>> checks.require(torch.tensor([1.0, 2.0]).isfinite().all(), lambda: ValueError("no number"))
    >>> mean = checks.number(torch.tensor([1.0, 2.0]).mean())
    >>> checks.settle()
    >>> mean.value
    1.5
    """

    def __init__(self) -> None:
        self._conditions: list[tuple[Tensor, Callable[[], Exception]]] = []
        self._numbers: list[Number] = []
        self._awaited: list[Callable[[], None]] = []

    def wait_for(self, work: Callable[[], None]) -> None:
        """Require that work has been done: the next `settle` calls it before anything is read.

        Args:
            work: returns once the work is done, and raises if it failed.
        """
        self._awaited.append(work)

    def require(self, holds: Tensor, error: Callable[[], Exception]) -> None:
        """Require a condition.

        Args:
            holds: whether it holds: a bool tensor without dimensions.
            error: returns the error to raise if it does not hold; it may read tensors.
        """
        self._conditions.append((holds, error))

    def number(self, value: Tensor) -> Number:
        """Have a number read: a tensor without dimensions."""
        self._numbers.append(number := Number(value))
        return number

    def settle(self) -> None:
        """Wait for everything that was added since the last call, and read it in one transfer.

        Raises:
            Exception: the error of work that failed, or else of the first condition that does not hold.
        """
        awaited, self._awaited = self._awaited, []
        for work in awaited:
            work()
        conditions, numbers = self._conditions, self._numbers
        self._conditions, self._numbers = [], []
        if not conditions and not numbers:
            return
        read = torch.stack([holds for holds, _ in conditions] + [one.tensor for one in numbers]).tolist()
        for (_, error), holds in zip(conditions, read, strict=False):
            if not holds:
                raise error()
        for number, value in zip(numbers, read[len(conditions) :], strict=True):
            number.read(value)
