"""What a remembered attack must know of the server to continue."""

from typing import Protocol

from midstream.errors import MidstreamError


class Server(Protocol):
    """What an attack asks the server when it receives an unexpected batch."""

    def identity(self) -> str:
        """Return the run's identity, which differs between runs of the same name."""

    def step(self) -> int:
        """Return the number of the next batch of the run."""

    def took(self, seq: int, body: bytes) -> bool | None:
        """Return whether the run took this content for an earlier batch; None if unknown."""


class OtherRunError(MidstreamError, RuntimeError):
    """The attacked run no longer exists; another run has its name."""
