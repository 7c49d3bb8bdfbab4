"""What speaks for and against a model's derivatives; see `midstream.check_derivatives`."""

from collections.abc import Sequence
from math import isnan
from typing import Literal

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.distances import far, inner, norm
from midstream.mathematics.derivatives.generic_point import GenericPoint, Second, computable_point
from midstream.mathematics.derivatives.orders import ORDERS, Order, Vector
from midstream.mathematics.loss import Loss

EXACT, SINGLE = 1e-8, 1e-3
"""How far two orders may differ, as a share: in double precision, and where single is computed in."""

DIFFERENCES, OWN = 1e-4, 1e-2
"""How far from finite differences, and how far in the model's own precision from double."""

_STEP = 1e-7
_DIRECTIONS = range(3)
_ROUNDING = 1e-6
"""The error of a difference over that step, as a share of the value."""

Kind = Literal["run", "precision", "loss", "random", "coupled", "gradient", "order"]


class FaultError(Exception):
    """The derivatives are not right, or cannot be shown to be; the text stands behind the name of a layer."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Trial:
    """A model's derivatives at a generic point, held against one another.

    Args:
        model: the model.
        inputs: two or more, floating point.
        labels: their targets.
        loss: sums over its batch.

    Attributes:
        random: whether the loss goes by random numbers, once that is checked.

    Raises:
        FaultError: they cannot be computed.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> None:
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
        self.one = self.point.some(1)
        own = next(model.parameters()).dtype
        self._own = self.one.rounded() if self.double and own != torch.float64 else None
        self.random = False
        self._found: dict[Order, Second | str] = {}

    def check_repeatable(self) -> None:
        """Refuse a model that gives another loss each time; in training mode it may by torch's numbers."""
        once, again, other = (self.point.loss_there(seed=seed) for seed in (0, 0, 1))
        if not far(again, once) <= self.tolerance:
            raise FaultError("random", "gives another loss each time it is called on the same inputs")
        self.random = not far(other, once) <= self.tolerance
        if self.random and not any(layer.training for layer in self.point.model.modules()):
            raise FaultError("random", "draws random numbers in evaluation mode too, where it must not")

    def check_examples(self) -> None:
        """Refuse a loss over several examples that is not the sum of what each gives by itself."""
        try:
            self.alone = self.one.first()
        except Exception as error:
            raise FaultError("coupled", f"takes two examples, but not one: {said(error)}") from error
        if self.random:
            return  # what is drawn for an example goes by its place
        together = self.point.first()
        rest = [self.point.some(i + 1, start=i) for i in range(1, len(self.point.inputs))]
        apart = [self.alone, *(one.first() for one in rest)]
        total = torch.stack([one.loss for one in apart]).sum()
        if far(len(apart) * together.loss, total) <= self.tolerance < far(together.loss, total):
            raise FaultError("loss", "has a loss that is a mean over its batch; it must be the sum")
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

    def check_gradient(self) -> None:
        """Refuse a gradient that is not the slope of the loss."""
        if not self.double:
            return
        here, there = self.alone.loss.item(), self.one.loss_there
        values = [
            (there(step=_STEP, direction=n).item(), there(step=-_STEP, direction=n).item())
            for n in _DIRECTIONS
        ]
        off = self._against(values, here, self.alone.by_parameters, self.alone.by_inputs)
        if off is not None and off > DIFFERENCES:
            raise FaultError(
                "gradient",
                f"has a gradient that is not the slope of its loss (they differ by {off:.2g}): a value "
                f"is detached, a gradient is estimated, or a torch.autograd.Function is wrong; a layer that "
                f"moves with each call needs .eval()",
            )

    def right_order(self, orders: Sequence[Order]) -> Order:
        """Return the first of the orders that is right.

        Raises:
            FaultError: none is.
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
        """Return what speaks against an order; None where it is right."""
        found = self._second(order)
        if isinstance(found, str):
            return f"stops with {found}"
        nearest, confirmed = self._nearest(order, found)
        if nearest is not None and not nearest <= self.tolerance:
            return f"differs by {nearest:.2g} from the others"
        if not confirmed:
            off = self._from_differences(found) if self.double else None
            if off is None and nearest is None:
                return "is the only one that runs, and finite differences do not settle it"
            if off is not None and off > DIFFERENCES:
                return f"differs by {off:.2g} from finite differences of the gradient"
        if not self.random:
            together = self.point.by_inputs(order)[:1]
            if not (apart := far(together, found.by_inputs, self._least)) <= self.tolerance:
                return f"gives an example another derivative, by {apart:.2g}, with a second in its batch"
        return None if self._own is None else self._doubt_in_own_precision(order, found, self._own)

    def _nearest(self, order: Order, found: Second) -> tuple[float | None, bool]:
        """Return how far the nearest of the others is, None where none runs, and if that settles it.

        The two orders that differentiate torch's backward passes may share a mistake in one of these.
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

    def _doubt_in_own_precision(self, order: Order, found: Second, own: GenericPoint) -> str | None:
        try:
            apart = self._apart(own.second(order), found)
        except Exception as error:
            return f"stops in {own.inputs.dtype} with {said(error)}"
        return None if apart <= OWN else f"is off by {apart:.2g} in {own.inputs.dtype}"

    def _second(self, order: Order) -> Second | str:
        if order not in self._found:
            try:
                self._found[order] = self.one.second(order)
            except Exception as error:
                self._found[order] = said(error)
        return self._found[order]

    @property
    def _least(self) -> float:
        # A derivative that is 0 in truth comes out as the rounding errors of what it is made from.
        return self.tolerance / 1000 * norm(self.alone.by_inputs)

    def _apart(self, one: Second, other: Second) -> float:
        least = self.tolerance / 1000 * norm(self.alone.by_parameters)
        by_inputs = far(one.by_inputs, other.by_inputs, self._least)
        by_parameters = far(one.by_parameters, other.by_parameters, least)
        return by_inputs if not by_inputs <= by_parameters else by_parameters

    def _from_differences(self, found: Second) -> float | None:
        along, first = self.one.along, self.one.first
        values = [
            (
                inner(first(step=_STEP, direction=n).by_parameters, along),
                inner(first(step=-_STEP, direction=n).by_parameters, along),
            )
            for n in _DIRECTIONS
        ]
        here = inner(self.alone.by_parameters, along)
        return self._against(values, here, found.by_parameters, found.by_inputs)

    def _against(
        self, values: Sequence[tuple[float, float]], here: float, by_parameters: Vector, by_inputs: Tensor
    ) -> float | None:
        """Return how far a gradient is from differences of a value; None where all of them cross a kink."""
        worst: float | None = None
        for number, (ahead, behind) in enumerate(values):
            theta, x = self.one.direction(number)
            moved = [(by_parameters[name] * way).flatten() for name, way in theta.items()]
            parts = torch.cat([*moved, (by_inputs * x).flatten()])
            onward, backward = (ahead - here) / _STEP, (here - behind) / _STEP
            slope, rounding = (onward + backward) / 2, _ROUNDING * abs(here)
            size = max(parts.norm().item(), abs(slope), rounding, 1e-300)
            if abs(onward - backward) <= DIFFERENCES * size + 2 * rounding:
                off = max(abs(slope - parts.sum().item()) - rounding, 0.0) / size
                worst = off if worst is None else max(worst, off)
        return worst


def said(error: Exception) -> str:
    """Return an error in a few words."""
    first = str(error).strip().partition("\n")[0].partition(". ")[0].removesuffix(".")
    return f"{type(error).__name__}: {first[:160]}"
