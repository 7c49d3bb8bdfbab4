"""Serving an ASGI application until someone says stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from midstream.errors import MidstreamError
from midstream.protocol.tokens import Tokens
from midstream.web.asgi import App
from midstream.web.authorization import Authorization
from midstream.web.connections import HEAD_BYTES, Connection
from midstream.web.hosts import Hosts
from midstream.web.limits import Limits
from midstream.web.liveness import KEPT_ALIVE
from midstream.web.places import REQUESTS, WATCHERS, Places
from midstream.web.tls import check_certificate


class PortError(MidstreamError, OSError):
    """The address cannot be listened on; the message says which and why."""


@dataclass(frozen=True)
class Guard:
    """What a service asks of who connects.

    Attributes:
        tokens: a token a role; None lets everyone do everything.
        requests: how many batches are in hand at once, and how many reads of what an attacker needs; more
            are asked to come again.
        certificate: PEM file of what the service shows; None speaks no TLS.
        key: PEM file of its private key; None looks for it beside the certificate, in the same file.
        watchers: how many event streams and long polls are open at once, and how many other reads.
        hosts: names and addresses that the service is reached by, beside those of loopback and the address
            itself; from `midstream.web.hosts.names_of`.

    Raises:
        ValueError: they are no certificate with its key.
        OSError: they cannot be read.
    """

    tokens: Tokens | None = None
    requests: int = REQUESTS
    certificate: Path | None = None
    key: Path | None = None
    watchers: int = WATCHERS
    hosts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.certificate is not None:
            check_certificate(self.certificate, self.key)
        elif self.key is not None:
            raise ValueError(f"--key {self.key} needs the --certificate that it is of")

    def around(self, app: App) -> App:
        """Return the application with this guard before it."""
        limited = Limits(app, Places(self.requests, self.watchers))
        return Hosts(limited if self.tokens is None else Authorization(limited, self.tokens), self.hosts)


OPEN = Guard()
"""No token is asked for: for a loopback address."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are handled by `serve`, which first wakes whoever waits for an answer.
        yield


def listen(host: str, port: int, fd: int | None = None, *, flag: str = "--port") -> socket.socket:
    """Return a listening socket: one that was inherited as `fd`, or a new one.

    Args:
        host: address of this machine.
        port: 0 lets the system pick one.
        fd: a listening socket that the parent process opened, in place of host and port.
        flag: the option that the port comes from.

    Raises:
        PortError: the port is taken, or the address is not one of this machine's.
    """
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    for option in (
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        *KEPT_ALIVE,
    ):  # connections inherit the latter
        listener.setsockopt(*option)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortError(
            f"cannot listen on {host}:{port}: {error.strerror}. Name another with {flag}, or 0 to let the "
            f"system pick one."
        ) from error
    return listener


def url_of(listener: socket.socket, guard: Guard = OPEN) -> str:
    """Return the base URL that a listening socket is reached at."""
    scheme = "http" if guard.certificate is None else "https"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def configuration(app: App, *, guard: Guard = OPEN, transparent: bool = False) -> uvicorn.Config:
    """Return how an application is served; see `serve`."""
    return uvicorn.Config(
        guard.around(app),
        http=Connection,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws="none",
        ssl_certfile=guard.certificate,
        ssl_keyfile=guard.key,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # anyone can send X-Forwarded-For; a client is who is connected
        lifespan="on",
        server_header=not transparent,
        date_header=not transparent,
        timeout_graceful_shutdown=30,
    )


def serve(
    app: App,
    listener: socket.socket,
    *,
    wake: Callable[[], None],
    ready: Callable[[], None],
    guard: Guard = OPEN,
    transparent: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, then let the requests in hand finish.

    Args:
        app: the ASGI application; its lifespan's end is where it saves its work.
        listener: from `listen`.
        wake: called at the signal, so that long polls and event streams end.
        ready: called once a signal ends it so; before, one interrupts the process.
        guard: what is asked of who connects.
        transparent: whether answers go out without a Server and a Date of this process, as those that a
            proxy passes on have their own.
    """
    server = _Server(configuration(app, guard=guard, transparent=transparent))

    def stop() -> None:
        wake()
        server.should_exit = True

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        ready()
        await server.serve(sockets=[listener])

    asyncio.run(run())
