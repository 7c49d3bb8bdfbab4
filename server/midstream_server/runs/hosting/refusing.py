"""Why a batch was not trained on, as the provider reads it."""

from collections.abc import Iterator
from contextlib import contextmanager

from midstream.players.checking import AlarmError
from midstream.players.referee import PlayerError
from midstream.protocol.problem import Problem
from midstream.run.training import DivergedError

ENDING = (DivergedError, AlarmError)
"""Errors that end the run: the same batch would fail again."""


@contextmanager
def refusing(seq: int) -> Iterator[None]:
    """Turn what stops the training step on a batch into a problem.

    Raises:
        Problem: 500, the defender or the checker failed; 409, the run has diverged, or its checker stops it.
    """
    try:
        yield
    except PlayerError as error:
        side = "checker" if str(error).startswith("checker ") else "defender"
        raise Problem(500, f"The {side} failed", f"{error}; the batch was not trained on") from error
    except DivergedError as error:
        raise Problem(409, "The run has diverged", str(error), next_seq=seq) from error
    except AlarmError as error:
        raise Problem(409, "The checker stopped the run", str(error), next_seq=seq) from error
