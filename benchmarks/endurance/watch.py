"""Determine the outcome of a restart: the game continues, a service refuses a named file, or a fault."""

import time
from collections.abc import Collection
from typing import Literal

from benchmarks.chaos.game import SERVICES, ChaosError
from benchmarks.endurance.stage import Stage

Outcome = Literal["went on", "went on, and said so", "refused", "refused for an earlier damage"]

_FURTHER = 3  # steps beyond those there were, which show that the game goes on
_LAST_WORDS = 0.5  # seconds that the others have, once a service has ended
_LASTS = 3.0  # seconds that a provider's wait is watched for before it is taken for a refusal
_EVERY = 0.05
_TRACEBACK = "Traceback (most recent call last)"


class FaultFoundError(ChaosError):
    """A fault was found; the message describes it."""


class Watch:
    """Watches one game.

    Args:
        stage: its services.
        total: steps of the game.
        patience: seconds without a step or output after which the game counts as hanging.
    """

    def __init__(self, stage: Stage, total: int, patience: float) -> None:
        self._stage = stage
        self._total = total
        self._patience = patience

    def outcome(self, steps: int, names: Collection[str] = (), earlier: Collection[str] = ()) -> Outcome:
        """Return the outcome of a restart.

        Args:
            steps: lower bound of the steps taken before.
            names: names by which a message may refer to the damaged file.
            earlier: the same for files damaged before.

        Raises:
            FaultFoundError: it hangs, a service ended without naming a file, or printed a traceback.
        """
        step, heard, deadline = -1, (-1, 0), time.monotonic() + self._patience
        refused = float("inf")
        while not self._stage.over():
            step = max(step, self._stage.step())
            if steps + _FURTHER <= step < self._total:
                break
            said = self._stage.said()
            if _TRACEBACK in said:
                raise FaultFoundError("a traceback")
            failed = self._failed()
            if failed or _named(self._stage.said("provider"), [*names, *earlier]):
                refused = min(refused, time.monotonic() + (_LAST_WORDS if failed else _LASTS))
            if time.monotonic() > refused:
                if _named(said, names):
                    return "refused"
                if _named(said, earlier):
                    return "refused for an earlier damage"
                raise FaultFoundError(f"{' and '.join(failed)} ended, and named no file that was damaged")
            if (step, len(said)) != heard:
                heard, deadline = (step, len(said)), time.monotonic() + self._patience
            if time.monotonic() > deadline:
                raise FaultFoundError(f"at step {step} for {self._patience:.0f} s, without a word")
            time.sleep(_EVERY)
        return "went on, and said so" if _named(self._stage.said(), names) else "went on"

    def check_alive(self, *, besides: str | None = None, earlier: Collection[str] = ()) -> Outcome | None:
        """Return that the game is refused, if it is, for a damage that it had gone on with.

        Raises:
            FaultFoundError: a service ended by itself, and named no such file.
        """
        failed = [name for name in self._failed() if name != besides]
        if not failed or self._stage.over():
            return None
        time.sleep(_LAST_WORDS)
        if self._stage.over():
            return None
        if _named(self._stage.said(), earlier):
            return "refused for an earlier damage"
        raise FaultFoundError(f"{' and '.join(failed)} ended, though nothing had been damaged")

    def _failed(self) -> list[str]:
        return [name for name in SERVICES if self._stage.ended(name) is not None]


def _named(said: str, names: Collection[str]) -> bool:
    return any(name in said for name in names)
