"""What a run cannot store, for whoever watches it: said once, and once more when it is over."""

from collections.abc import Callable


class Room:
    """Whether there is room for what a run has to store.

    Args:
        say: told when there is none, and when there is some again.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.lacking: str | None = None
        """Why something could not be stored; None where everything was, the last time."""

    def lacks(self, error: OSError) -> None:
        """Something could not be stored."""
        if self.lacking is None:
            self._say(f"waits for room to store what it has: {error}")
        self.lacking = str(error)

    def holds(self) -> None:
        """Something was stored."""
        if self.lacking is not None:
            self._say("has room to store what it has again")
        self.lacking = None
