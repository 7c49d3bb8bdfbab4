"""What an attacker's host raises when it cannot provide what the attacker asked its view for."""

from collections.abc import Iterator
from contextlib import contextmanager

from midstream import plugins
from midstream.players.referee import HostError
from midstream.protocol.problem import Problem
from midstream.run.datasets.dataset_checks import DatasetError


@contextmanager
def hosting() -> Iterator[None]:
    """Raise `HostError` in place of an error of the server, the data set or a plug-in."""
    try:
        yield
    except (OSError, Problem, DatasetError, plugins.PluginError) as error:
        # The server is unreachable or at another version, or the data set is missing or not the run's.
        raise HostError(str(error)) from error
