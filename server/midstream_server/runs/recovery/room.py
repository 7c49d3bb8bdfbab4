"""Reports of a full disk: one message when a run cannot store its data, one when it can again."""

from collections.abc import Callable


class Room:
    """Tracks whether a run's last write failed.

    Args:
        say: called with a sentence when writes begin to fail, and when they succeed again.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.lacking: str | None = None
        """Why the last write failed; None if it succeeded."""

    def lacks(self, error: OSError) -> None:
        """Record a failed write."""
        if self.lacking is None:
            self._say(f"waits for room to store what it has: {error}")
        self.lacking = str(error)

    def holds(self) -> None:
        """Record a successful write."""
        if self.lacking is not None:
            self._say("has room to store what it has again")
        self.lacking = None
