"""What the provider reads when an attack fails: every error becomes a problem that names its cause."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from midstream.mathematics.derivatives.functional import DerivativeError
from midstream.players.referee import PlayerError
from midstream.plugins import PluginError
from midstream.protocol.problem import Problem
from midstream.protocol.wire import WireError
from midstream.run.datasets import MissingDataError
from midstream.run.datasets.dataset_checks import DatasetError
from midstream.storage.sqlite import DamagedDatabaseError, StorageError
from midstream.web.client import ServerGoneError
from midstream_proxy.forward import unreachable
from midstream_proxy.memory.recognised import refused
from midstream_proxy.surrogates.surrogate import SurrogateError

_OF_THE_ATTACK = (DerivativeError, PlayerError, PluginError, SurrogateError)


@contextmanager
def attack_as_problems() -> Iterator[None]:
    """Turn the errors of the attack itself into problems.

    Raises:
        Problem: 500, the attack failed, or the run's data set is not here.
    """
    try:
        yield
    except (DatasetError, MissingDataError) as error:
        detail = f"{error}; the batch was not passed on"
        raise Problem(500, "The attacker lacks the run's data", detail) from error
    except _OF_THE_ATTACK as error:
        raise Problem(500, "The attack failed", f"{error}; the batch was not passed on") from error


@contextmanager
def as_problems(upstream: str) -> Iterator[None]:
    """Turn the errors of an attack, of its memory and of its connection into problems.

    Args:
        upstream: the training server's base URL.

    Raises:
        Problem: 400, the body is no batch; 409, the attacker's memory is damaged; 500, the attack failed, or
            the run's data set is not here; 502, the server does not answer; 503, the attacked batch cannot
            be stored.
    """
    try:
        with attack_as_problems():
            yield
    except WireError as error:
        raise Problem(400, "The body is not a batch", str(error)) from error
    except ServerGoneError as error:
        raise unreachable(upstream, error) from error
    except DamagedDatabaseError as error:
        raise refused(str(error)) from error
    except StorageError as error:
        raise Problem(503, "The attacked batch cannot be stored", str(error), retry_after=1) from error
    except Problem as problem:
        if isinstance(problem.__cause__, _OF_THE_ATTACK):
            logging.getLogger("midstream.proxy").error("%s", problem.__cause__)
        raise


def another_run(run: str) -> Problem:
    """Return the problem of a batch for a run whose name the server has given to another run."""
    what = f"the server has another run under the name {run!r} now, and the attacker begins with that one"
    return Problem(503, "The attacker is not ready yet", what, retry_after=1)


def not_the_next(seq: int, wanted: int, run: str) -> Problem:
    """Return the problem of a batch that is not the one its run expects."""
    detail = f"batch {seq} came, batch {wanted} is next in run {run!r}"
    return Problem(409, "Not the next batch", detail, next_seq=wanted)
