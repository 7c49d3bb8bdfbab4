"""What workers report while they play."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stepped:
    """A trial advanced.

    Attributes:
        trial: its name.
        step: steps done.
        total: all steps.
        text: what its game says about its progress.
    """

    trial: str
    step: int
    total: int
    text: str


@dataclass(frozen=True)
class Ended:
    """A trial ended.

    Attributes:
        trial: its name.
        reason: why it failed; None if it finished.
    """

    trial: str
    reason: str | None


Event = Stepped | Ended
