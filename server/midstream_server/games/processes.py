"""The two processes of a game that was started from the dashboard: its attacker and its data provider."""

from collections.abc import Sequence
from dataclasses import dataclass

from midstream.protocol.messages.games import AttackerName
from midstream.web.children import Children
from midstream.web.hosting import listen, url_of
from midstream_server.runs.hosting.hosted import HostedRun

_ENVIRONMENT = {"PYTHONSAFEPATH": "1"}  # `python -m` would import from the server's current folder first


@dataclass(frozen=True)
class Surroundings:
    """What the processes need to know of the server that starts them.

    Attributes:
        url: the server's address.
        token: a provider's token for it; None if it requires none.
        data: options that say where data sets are.
        attacking: options of the attacker: where data sets are, how to compute, and what to draw.
    """

    url: str
    token: str | None = None
    data: Sequence[str] = ()
    attacking: Sequence[str] = ()


def started(run: HostedRun, attacker: AttackerName, around: Surroundings) -> Children:
    """Start a run's data provider and its attacker, if there is one. Their logs are in the run folder.

    Raises:
        OSError: a process could not be started.
    """
    folder, specification = run.recorded.folder.path, run.specification
    children = Children(folder)
    target = around.url
    try:
        if attacker != "none":
            listener = listen("127.0.0.1", 0)
            target = url_of(listener)
            budget = ("--epsilon", str(specification.epsilon), "--norm", specification.norm)
            place = ("--server", around.url, "--run", run.name, "--out", str(folder))
            players = ("--attacker", attacker, *budget)
            command = ("attack", *place, *players, *around.attacking)
            children.start("attacker", *command, listener=listener, environment=_ENVIRONMENT)
        # Tokens never stand on a command line, where other users can read them.
        secret = {} if around.token is None else {"MIDSTREAM_TOKEN": around.token}
        feeding = ("--server", target, "--run", run.name)
        children.start("provider", "provide", *feeding, *around.data, environment=_ENVIRONMENT | secret)
    except OSError:
        children.stop()
        raise
    return children
