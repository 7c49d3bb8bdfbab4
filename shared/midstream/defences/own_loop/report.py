"""What `Defender` has done so far, as text and as a picture for a notebook."""

from dataclasses import dataclass

from midstream.defences.own_loop.report_picture import as_html
from midstream.mathematics.budget import Norm
from midstream.mathematics.derivatives.orders import Order


@dataclass(frozen=True)
class DefenderReport:
    """What a `Defender` has done so far; `Defender.report` returns it, and `print` writes it as a table.

    Distances are in the budget's norm and in pixel units, after the clamp to the pixel range. Times of one
    call are medians of the last 1,000 calls, without the very first one. A notebook shows the table and a
    picture of the mean distance, call by call.

    Attributes:
        calls: calls that returned corrected inputs.
        examples: examples in these calls.
        refused: calls that raised an error, such as one for inputs outside the pixel range.
        reason: message of the last refusal.
        epsilon: the budget's radius.
        norm: the budget's norm.
        moved_mean: distance that an example was moved, on average over all examples.
        moved_max: the greatest distance.
        unmoved: examples that were not moved, because their derivative is 0 or the clamp undid it.
        seconds_check: seconds that the check of the inputs and of the model's derivatives took in the call
            where it took longest: the first one.
        seconds_v: seconds that the gradient v of the validation loss takes in one call.
        seconds_correction: seconds that the correction of the batch takes in one call.
        share: share of a call in a whole step, from the beginning of one call to that of the next. None
            before the third call.
        order: the order in which the second derivatives were taken; see `midstream.check_derivatives`.
        recent: mean distance in each of the last 1,000 calls.

    >>> import torch, midstream
    >>> model = torch.nn.Linear(4, 2)
    >>> defender = midstream.Defender(model, torch.rand(20, 4), torch.arange(20) % 2, epsilon=0.5)
    >>> _ = defender(torch.full((8, 4), 0.5), torch.arange(8) % 2)
    >>> print(defender.report())  # doctest: +ELLIPSIS
    Defender: 1 call, 8 examples, 0 refused
    moved (l2, ε = 0.5)   mean 0.5, max 0.5, 0 of 8 not at all
    v                     ... ms
    correction            ... ms
    derivatives           reverse-over-forward, checked in ... s
    """

    calls: int
    examples: int
    refused: int
    reason: str | None
    epsilon: float
    norm: Norm
    moved_mean: float
    moved_max: float
    unmoved: int
    seconds_check: float
    seconds_v: float
    seconds_correction: float
    share: float | None
    order: Order | None
    recent: tuple[float, ...]

    def rows(self) -> dict[str, str]:
        """Return the table's rows: what is measured, and its value."""
        rows = {}
        if self.calls:
            unmoved = f"{self.unmoved} of {self.examples} not at all"
            moved = f"mean {self.moved_mean:.4g}, max {self.moved_max:.4g}, {unmoved}"
            rows[f"moved ({self.norm}, ε = {self.epsilon:g})"] = moved
            rows["v"] = f"{1000 * self.seconds_v:.3g} ms"
            rows["correction"] = f"{1000 * self.seconds_correction:.3g} ms"
        if self.share is not None:
            rows["share of the step"] = f"{self.share:.0%}"
        if self.order is not None:
            rows["derivatives"] = f"{self.order}, checked in {self.seconds_check:.2g} s"
        if self.reason is not None:
            rows["last refusal"] = self.reason
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        width = max(map(len, rows), default=0)
        lines = [f"{name.ljust(width)}   {value}" for name, value in rows.items()]
        return "\n".join([self.title(), *lines])

    def title(self) -> str:
        """Return the table's heading."""
        calls = "1 call" if self.calls == 1 else f"{self.calls} calls"
        return f"Defender: {calls}, {self.examples} examples, {self.refused} refused"

    def _repr_html_(self) -> str:
        return as_html(self.title(), self.rows(), self.recent, self.epsilon)
