"""Serving an ASGI application until SIGINT or SIGTERM."""

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
    """Listening on an address failed; the message names the address and the reason."""


@dataclass(frozen=True)
class Guard:
    """The access rules of a service: tokens, limits, TLS and host names.

    Attributes:
        tokens: one token per role; None lets everyone do everything.
        requests: maximum number of concurrent batches, and of concurrent reads by an attacker; further
            requests are refused with 503.
        certificate: PEM file of the service's certificate; None serves without TLS.
        key: PEM file of its private key; None expects it in the certificate's file.
        watchers: maximum number of open event streams and long polls, and of other concurrent reads.
        hosts: names and addresses of the service, in addition to loopback and the address that it listens
            on; from `midstream.web.hosts.names_of`.

    Raises:
        ValueError: the files hold no certificate with its key.
        OSError: the files cannot be read.
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
            raise ValueError(f"--key {self.key} needs the --certificate that it belongs to")

    def around(self, app: App) -> App:
        """Return the application wrapped in this guard."""
        limited = Limits(app, Places(self.requests, self.watchers))
        return Hosts(limited if self.tokens is None else Authorization(limited, self.tokens), self.hosts)


OPEN = Guard()
"""A guard without tokens, for a loopback address."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # `serve` handles signals itself, to end long polls and event streams first.
        yield


def listen(host: str, port: int, fd: int | None = None, *, flag: str = "--port") -> socket.socket:
    """Return a listening socket: the inherited `fd`, or a new one.

    Args:
        host: address of this machine.
        port: port number; 0 lets the system pick one.
        fd: a listening socket opened by the parent process, used instead of host and port.
        flag: name of the port's option, for error messages.

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
    ):  # accepted connections inherit KEPT_ALIVE
        listener.setsockopt(*option)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortError(
            f"cannot listen on {host}:{port}: {error.strerror}. Name another port with {flag}, or 0 to let "
            f"the system pick one."
        ) from error
    return listener


def url_of(listener: socket.socket, guard: Guard = OPEN) -> str:
    """Return the base URL of a listening socket."""
    scheme = "http" if guard.certificate is None else "https"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def configuration(app: App, *, guard: Guard = OPEN, transparent: bool = False) -> uvicorn.Config:
    """Return the uvicorn configuration for `serve`."""
    return uvicorn.Config(
        guard.around(app),
        http=Connection,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws="none",
        ssl_certfile=guard.certificate,
        ssl_keyfile=guard.key,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # anyone can send X-Forwarded-For; use the address of the connection
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
    """Serve until SIGINT or SIGTERM, then let pending requests finish.

    Args:
        app: the ASGI application; it saves its work at the end of its lifespan.
        listener: from `listen`.
        wake: called at the signal; must end long polls and event streams.
        ready: called once signals stop the service gracefully; until then a signal interrupts the process.
        guard: the access rules.
        transparent: whether to omit this process's Server and Date headers; the responses that a proxy
            forwards have their own.
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
