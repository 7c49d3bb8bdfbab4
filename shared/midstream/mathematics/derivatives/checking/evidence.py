"""The checks of a model's derivatives; see `midstream.check_derivatives`."""

from collections.abc import Sequence
from math import isnan
from typing import Literal

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.checking.differences import DIFFERENCES, gradient_off, second_off
from midstream.mathematics.derivatives.checking.distances import far, norm
from midstream.mathematics.derivatives.checking.generic_point import Second, computable_point
from midstream.mathematics.derivatives.checking.own_precision import off_in_own_precision
from midstream.mathematics.derivatives.orders import ORDERS, Order
from midstream.mathematics.loss import Loss

EXACT, SINGLE = 1e-8, 1e-3
"""Relative tolerance between two orders: in double precision, and if the model computes in single."""

OWN = 1e-2
"""Relative tolerance of the model's own precision to double precision."""

Kind = Literal["run", "precision", "loss", "random", "coupled", "gradient", "order"]


class FaultError(Exception):
    """The derivatives are wrong, or cannot be shown to be correct; the text follows the name of a layer."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Trial:
    """Compares a model's derivatives at a generic point.

    Args:
        model: the model.
        inputs: two or more inputs, floating point.
        labels: their targets.
        loss: a loss that sums over its batch.
        coupled: whether the examples are coupled, so that the loss is one function of all inputs.

    Attributes:
        random: whether the loss depends on random numbers; set by `check_repeatable`.

    Raises:
        FaultError: the derivatives cannot be computed.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, *, coupled: bool = False
    ) -> None:
        try:
            self.point, coarsest = computable_point(model, loss, inputs, labels)
        except Exception as error:
            raise FaultError("run", f"has no gradient: {said(error)}") from error
        if torch.finfo(coarsest).eps > torch.finfo(torch.float32).eps:
            raise FaultError(
                "precision", f"computes in {coarsest}, too coarse to tell a right derivative from a wrong one"
            )
        self.double = coarsest == torch.float64
        self.tolerance = EXACT if self.double else SINGLE
        self.coupled = coupled
        self.one = self.point if coupled else self.point.some(1)
        own = next(model.parameters()).dtype
        self._own = self.one.rounded() if self.double and own != torch.float64 else None
        self.random = False
        self._found: dict[Order, Second | str] = {}

    def check_repeatable(self) -> None:
        """Refuse a loss that varies between calls; in training mode, torch's random numbers may vary it."""
        once, again, other = (self.point.loss_there(seed=seed) for seed in (0, 0, 1))
        if not far(again, once) <= self.tolerance:
            raise FaultError("random", "gives another loss each time it is called on the same inputs")
        self.random = not far(other, once) <= self.tolerance
        if self.random and not any(layer.training for layer in self.point.model.modules()):
            raise FaultError("random", "draws random numbers in evaluation mode too, where it must not")

    def check_examples(self) -> None:
        """Refuse a loss over several examples that is not the sum of the examples' losses."""
        if self.coupled:
            self.alone = self.point.first()
            self._refuse_mean(len(self.point.inputs), self.alone.loss, self.point.loss_apart())
            return
        try:
            self.alone = self.one.first()
        except Exception as error:
            raise FaultError("coupled", f"takes two examples, but not one: {said(error)}") from error
        if self.random:
            return  # the numbers drawn for an example depend on its position
        together = self.point.first()
        rest = [self.point.some(i + 1, start=i) for i in range(1, len(self.point.inputs))]
        apart = [self.alone, *(one.first() for one in rest)]
        total = torch.stack([one.loss for one in apart]).sum()
        self._refuse_mean(len(apart), together.loss, total)
        summed = {
            name: torch.stack([one.by_parameters[name] for one in apart]).sum(dim=0)
            for name in together.by_parameters
        }
        differences = (
            far(together.loss, total),
            far(together.by_parameters, summed),
            far(together.by_inputs, torch.cat([one.by_inputs for one in apart])),
        )
        if coupled := [difference for difference in differences if not difference <= self.tolerance]:
            raise FaultError(
                "coupled",
                f"couples the examples of a batch (by {coupled[0]:.2g}), so an input has no derivative of "
                f"its own. Normalise each example by itself, as group norm does, or call .eval() on what "
                f"tracks statistics",
            )

    def _refuse_mean(self, count: int, together: Tensor, apart: Tensor) -> None:
        if far(count * together, apart) <= self.tolerance < far(together, apart):
            raise FaultError("loss", "has a loss that is a mean over its batch; it must be the sum")

    def check_gradient(self) -> None:
        """Refuse a gradient that is not the slope of the loss."""
        if not self.double:
            return
        off = gradient_off(self.one, self.alone)
        if off is not None and off > DIFFERENCES:
            raise FaultError(
                "gradient",
                f"has a gradient that is not the slope of its loss (they differ by {off:.2g}): a value "
                f"is detached, a gradient is estimated, or a torch.autograd.Function is wrong; a layer that "
                f"moves with each call needs .eval()",
            )

    def right_order(self, orders: Sequence[Order]) -> Order:
        """Return the first correct order.

        Raises:
            FaultError: no order is correct.
        """
        doubts: list[str] = []
        for order in orders:
            if (doubt := self._doubt(order)) is None:
                return order
            doubts.append(f"{order} {doubt}")
        training = any(layer.training for layer in self.point.model.modules())
        raise FaultError(
            "order",
            f"has no second derivatives that can be trusted: {'; '.join(doubts)}. "
            + "Call .eval() if it moves with each call, or write" * training
            + "Write" * (not training)
            + " it in operations that torch differentiates twice",
        )

    def _doubt(self, order: Order) -> str | None:
        """Return why an order is not correct, as text; None if it is correct."""
        found = self._second(order)
        if isinstance(found, str):
            return f"stops with {found}"
        nearest, confirmed = self._nearest(order, found)
        if nearest is not None and not nearest <= self.tolerance:
            return f"differs by {nearest:.2g} from the others"
        if not confirmed:
            off = second_off(self.one, self.alone, found) if self.double else None
            if off is None and nearest is None:
                return "is the only one that runs, and finite differences do not settle it"
            if off is not None and off > DIFFERENCES:
                return f"differs by {off:.2g} from finite differences of the gradient"
        if not self.random and not self.coupled:
            together = self.point.by_inputs(order)[:1]
            if not (apart := far(together, found.by_inputs, self._least)) <= self.tolerance:
                return f"gives an example another derivative, by {apart:.2g}, with a second in its batch"
        if self._own is None:
            return None
        try:
            off = off_in_own_precision(order, self.one, found, self._own, tolerance=OWN, far=self._apart)
        except Exception as error:
            return f"stops in {self._own.inputs.dtype} with {said(error)}"
        return None if off is None else f"is off by {off:.2g} in {self._own.inputs.dtype}"

    def _nearest(self, order: Order, found: Second) -> tuple[float | None, bool]:
        """Return the distance to the nearest other order, and whether that order confirms this one.

        The distance is None if no other order runs. The two orders that differentiate torch's backward
        passes do not confirm each other: they may share an error in a backward pass.
        """
        nearest: float | None = None
        for other in ORDERS:
            second = None if other == order else self._second(other)
            if isinstance(second, Second):
                apart = self._apart(found, second)
                if nearest is None or isnan(nearest) or apart < nearest:  # NaN is further than any number
                    nearest = apart
                if apart <= self.tolerance and "reverse-over-forward" in (order, other):
                    return nearest, True
        return nearest, False

    def _second(self, order: Order) -> Second | str:
        if order not in self._found:
            try:
                self._found[order] = self.one.second(order)
            except Exception as error:
                self._found[order] = said(error)
        return self._found[order]

    @property
    def _least(self) -> float:
        # If the exact derivative is 0, what is computed is rounding error of the terms that cancel.
        return self.tolerance / 1000 * norm(self.alone.by_inputs)

    def _apart(self, one: Second, other: Second) -> float:
        least = self.tolerance / 1000 * norm(self.alone.by_parameters)
        by_inputs = far(one.by_inputs, other.by_inputs, self._least)
        by_parameters = far(one.by_parameters, other.by_parameters, least)
        return by_inputs if not by_inputs <= by_parameters else by_parameters


def said(error: Exception) -> str:
    """Return an error's type and the first sentence of its message."""
    first = str(error).strip().partition("\n")[0].partition(". ")[0].removesuffix(".")
    return f"{type(error).__name__}: {first[:160]}"
