"""Why a batch was not trained on, as the provider reads it."""

from collections.abc import Iterator
from contextlib import contextmanager

from midstream.players.referee import PlayerError
from midstream.protocol.problem import Problem
from midstream.run.training import DivergedError


@contextmanager
def refusing(seq: int) -> Iterator[None]:
    """Turn what stops the training step on a batch into a problem.

    Raises:
        Problem: 500, the defender failed; 409, the run has diverged.
    """
    try:
        yield
    except PlayerError as error:
        raise Problem(500, "The defender failed", f"{error}; the batch was not trained on") from error
    except DivergedError as error:
        raise Problem(409, "The run has diverged", str(error), next_seq=seq) from error
