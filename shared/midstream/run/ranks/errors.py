"""What goes wrong between ranks."""

from midstream.errors import MidstreamError


class RankError(MidstreamError, RuntimeError):
    """The ranks of a run cannot compute together; the message says why."""


class LostRankError(RankError):
    """A connection between two ranks broke."""
