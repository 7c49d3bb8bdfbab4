"""A game in three processes, on ports chosen by the operating system."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from midstream import plugins
from midstream.command.games import parent
from midstream.command.games.game import Follow, GameError, GamePlan, progress_text
from midstream.mathematics.graphs.capturing import switched_on
from midstream.protocol.messages.message import members
from midstream.protocol.messages.runs import Status
from midstream.run.pretrained.prepared import must_learn
from midstream.storage.secret_files import write_secret
from midstream.storage.sqlite import remove
from midstream.web.client import Client, ServerGoneError
from midstream.web.hosting import listen, url_of

_POLL = 0.2
_STOP_WITHIN = 60.0


class Services:
    """Server, proxy and provider as child processes. Leaving the context stops them.

    Args:
        logs: folder for one log file per service.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Services":
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children.values()):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def start(self, name: str, *arguments: str, listener: socket.socket | None = None) -> None:
        """Start `midstream <arguments>` as a child process, on a socket that the parent opened."""
        command = [sys.executable, "-m", "midstream.command.main", *arguments]
        sockets = []
        if listener is not None:
            command += ["--fd", str(listener.fileno())]
            sockets = [listener.fileno()]
        # A session of its own: Ctrl-C reaches only the parent, which stops its children in order.
        with (self.logs / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=sockets,
                start_new_session=True,
                env={**_environment(), "PYTHONUNBUFFERED": "1"},
            )
        if listener is not None:
            listener.close()

    def check(self) -> None:
        """Raise GameError if a service ended unexpectedly."""
        for name, child in self._children.items():
            code = child.poll()
            if code is not None and not (name == "provider" and code == 0):
                raise GameError(f"the {name} ended with exit code {code}: {self.last_words(name)}")

    def last_words(self, name: str) -> str:
        """Return the last line of a service's log."""
        lines = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"


def _environment() -> dict[str, str]:
    # MIDSTREAM_* settings are for the parent, which passes options to each child. MIDSTREAM_RUN, for example,
    # means something different to each command.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MIDSTREAM_")}
    return {**inherited, parent.VARIABLE: str(os.getpid())}


@dataclass(frozen=True)
class Started:
    """The server and the proxy of a game, ready for the run's next batch.

    Attributes:
        services: the child processes.
        client: reads the run from the server.
        proxy_url: where a provider sends the batches.
        key: file of the key that batches are signed with, if the provider has it.
    """

    services: Services
    client: Client
    proxy_url: str
    key: Path | None


def play_http(plan: GamePlan, follow: Follow) -> dict[str, object]:
    """Play a game in three processes and return the run's result.

    Raises:
        GameError: a service ended unexpectedly, or the run did not finish.
        midstream.protocol.problem.Problem: the server refused the specification.
    """
    with started(plan) as game:
        signing = [] if game.key is None else ["--sign-key", str(game.key)]
        feeding = ["--server", game.proxy_url, "--run", plan.name, *signing]
        game.services.start("provider", "provide", *feeding, *_data(plan), *_allow(plan))
        result = _follow_to_the_end(game.client, plan, game.services, follow)
    forget_attack(plan)
    return result


def forget_attack(plan: GamePlan) -> None:
    """Delete the attacker's memory, which is no longer needed once the game is over."""
    remove(plan.folder / f"attack-{plan.name}.sqlite")


@contextmanager
def started(plan: GamePlan) -> Iterator[Started]:
    """Start a game's server, proxy and run, and stop them at the end; an interrupted game goes on.

    Raises:
        GameError: a service ended unexpectedly, or the folder holds a run that cannot go on.
        midstream.protocol.problem.Problem: the server refused the specification.
    """
    plan.refuse_taken()
    common = ["--device", plan.device, "--precision", plan.precision]
    common += [] if plan.threads is None else ["--threads", str(plan.threads)]
    common += ["--no-capture"] * (not switched_on())
    cache = [] if plan.surrogate.cache is None else ["--cache", str(plan.surrogate.cache)]
    here = [*_data(plan), *cache, *_allow(plan), *common]
    begun = plan.begun
    server, proxy = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    server_url, proxy_url = url_of(server), url_of(proxy)
    with Services(plan.folder) as services:
        if not begun:
            plan.write_scenario()
        keeping = ["--out", str(plan.out), "--resume", plan.name if begun else "none"]
        key = plan.folder / "signature.key"
        if plan.signed is not None and not key.exists():
            write_secret(key, secrets.token_bytes(32))
        asking = [] if plan.signed is None else ["--require-signature", str(key)]
        signing = ["--sign-key", str(key)] if plan.signed == "attacker" else []
        services.start("server", "serve", *keeping, *asking, *here, listener=server)
        attack = _attack(plan, server_url)
        services.start("proxy", "attack", *attack, *signing, *here, listener=proxy)
        client = Client(server_url, give_up_after=1.0)
        try:
            _until_up(client, services)
            if not begun:
                client.create_run(plan.specification)
            yield Started(services, client, proxy_url, key if plan.signed == "provider" else None)
        except ServerGoneError as error:
            services.check()
            raise GameError(f"the server stopped answering: {services.last_words('server')}") from error
        finally:
            client.close()


def _attack(plan: GamePlan, server_url: str) -> list[str]:
    budget = plan.attack_budget
    surrogate = [
        word
        for name, value in plan.surrogate_settings().items()
        for word in (f"--{name}", str(value))
        if value is not None
    ]
    return [
        *("--server", server_url, "--gradient", plan.gradient, "--out", str(plan.folder)),
        *("--attacker", plan.attacker, "--epsilon", str(budget.epsilon), "--norm", budget.norm),
        *("--on-error", plan.specification.on_error, *surrogate),
    ]


def _data(plan: GamePlan) -> list[str]:
    root = [] if plan.data_root is None else ["--data-root", str(plan.data_root)]
    return root + ["--download"] * plan.download


def _allow(plan: GamePlan) -> list[str]:
    return [word for name in sorted(plan.allowed) for word in ("--allow", name)]


def _until_up(client: Client, services: Services) -> None:
    while True:
        try:
            client.runs()
        except ServerGoneError:
            services.check()
        else:
            return


def _follow_to_the_end(
    client: Client, plan: GamePlan, services: Services, follow: Follow
) -> dict[str, object]:
    attacker_learns = plan.specification.access == "black-box" or must_learn(
        plugins.make("attackers", plan.attacker)
    )
    while True:
        status = client.run(plan.name)
        if status.loss is not None:
            follow(status.step, status.total_steps, _describe(status, status.loss))
        elif (status.waiting_for or "").startswith("its defender"):
            follow(0, status.total_steps, status.waiting_for or "")
        elif attacker_learns:
            follow(0, status.total_steps, services.last_words("proxy"))
        if status.state == "finished" and status.result is not None:
            return members(status.result)
        if status.state in ("stopped", "failed"):
            raise GameError(f"run {plan.name!r} {status.state}: {status.reason}")
        services.check()
        time.sleep(_POLL)


def _describe(status: Status, loss: float) -> str:
    epoch = (max(status.step, 1) - 1) // status.steps_per_epoch
    return progress_text(epoch, loss, status.test_accuracy)
