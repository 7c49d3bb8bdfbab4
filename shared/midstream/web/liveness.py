"""Whether a peer that owes an answer is at work on it, or gone."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any

import httpx

from midstream.protocol.problem import PROBLEM_TYPE, Problem
from midstream.web.tls import Verify

SILENT_AFTER = 30.0
"""Seconds without a sign of life after which a peer counts as dead."""

LIVE = "/health/live"

BACK = "it was silent, and is back: it is asked anew"

_PATIENCE = 2.0  # seconds of silence before a wait is explained, and before the peer is asked for a sign
_SIGN_WITHIN = 5.0


def _kept_alive() -> list[tuple[int, int, int]]:
    """Return the options of a socket whose other end may vanish without a word."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", 10),
        ("TCP_KEEPALIVE", 10),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


KEPT_ALIVE = _kept_alive()
"""Socket options by which the system itself notices within half a minute that the other end is gone."""


class Pace:
    """How often a peer is asked for a sign of life, and how long it may take.

    Attributes:
        every: seconds between two questions; also how long an answer is waited for before the first.
        within: seconds that a sign of life may take.
        enough: seconds of silence, seen after a question, past which the peer counts as dead.

    Args:
        silent_after: seconds within which a dead peer is to be noticed.
    """

    def __init__(self, silent_after: float) -> None:
        self.every = min(_PATIENCE, silent_after / 15)
        self.within = min(_SIGN_WITHIN, silent_after / 6)
        self.enough = silent_after - self.every - self.within


class Watch:
    """Looks after the one request that a client has in hand.

    Past two seconds it says who is waited for, and asks the peer for a sign of life, on a connection of its
    own, again and again. A peer that gives one may take as long as it likes. Where it gives none for
    `silent_after` seconds, or gives one again after it gave none, the connection is closed on which the
    request waits, so that it fails: what became of that one meanwhile nobody knows.

    Args:
        url: the peer's.
        silent_after: seconds.
        verify: how its certificate is verified, where the URL is https.
        say: told whom is waited for, once for as long as nothing else is to be said.
    """

    def __init__(self, url: str, *, silent_after: float, verify: Verify, say: Callable[[str], None]) -> None:
        self._url = url
        self._pace = Pace(silent_after)
        self._verify = verify
        self._say = say
        self._lock = Lock()
        self._since: float | None = None  # when the request in hand began
        self.heard = time.monotonic()
        """When the peer gave its last sign of life, or this watch began."""
        self.verdict = ""
        """Why the last request was given up; empty where it was not."""
        self._stream: Any = None  # of the newest connection
        self._missed = False  # whether it gave none while the request was in hand
        self._told = ""
        self._closing = Event()
        self._thread: Thread | None = None

    @contextmanager
    def during(self) -> Iterator[dict[str, Any]]:
        """Watch the request that is made in this context; give it these extensions."""
        if self._thread is None:
            self._thread = Thread(target=self._watch, name="watch", daemon=True)
            self._thread.start()
        self.verdict, self._missed = "", False
        self._since = began = time.monotonic()
        try:
            yield {"trace": self._traced}
        finally:
            with self._lock:
                self._since = None
            if time.monotonic() - began < _PATIENCE:
                self._told = ""

    def close(self) -> None:
        """Watch no more."""
        self._closing.set()

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        # One request at a time: the connection that was opened last is the one it waits on.
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]

    def _watch(self) -> None:
        with ExitStack() as stack:
            peer: httpx.Client | None = None
            while not self._closing.wait(self._pace.every / 4):
                since = self._since
                if since is None or time.monotonic() - since < self._pace.every:
                    continue
                if peer is None:
                    timeout = self._pace.within
                    peer = httpx.Client(
                        base_url=self._url, timeout=timeout, trust_env=False, verify=self._verify
                    )
                    stack.enter_context(peer)
                asked = time.monotonic()
                self._look(peer, since)
                self._closing.wait(max(0.0, asked + self._pace.every - time.monotonic()))

    def _look(self, peer: httpx.Client, since: float) -> None:
        lives, words = sign_of(peer)
        if lives:
            self.heard = time.monotonic()
        silent = time.monotonic() - max(since, self.heard)
        with self._lock:
            if self._since != since:
                return  # it was answered meanwhile
            if silent > self._pace.enough or (lives and self._missed):
                self.verdict = f"no sign of life for {silent:.0f} s ({words})" if not lives else BACK
                self._hang_up()
                self._since = None
                return
            self._missed = not lives
        self._tell(words if lives else f"no sign of life ({words})")

    def _tell(self, what: str) -> None:
        if what != self._told:
            self._told = what
            self._say(f"waiting for {self._url}: {what}")

    def _hang_up(self) -> None:
        opened = None if self._stream is None else self._stream.get_extra_info("socket")
        if opened is not None:
            with suppress(OSError):  # it may be gone already
                # Of the socket itself, below TLS, which another thread is reading from.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def sign_of(peer: httpx.Client) -> tuple[bool, str]:
    """Return whether a peer answers at all, and what is to be said of it."""
    try:
        return True, words_of(peer.get(LIVE))
    except httpx.HTTPError as error:
        return False, str(error) or type(error).__name__


def words_of(sign: httpx.Response) -> str:
    """Return what a sign of life says: a proxy gives one, and says that the server behind it gives none."""
    if sign.status_code >= 500 and sign.headers.get("Content-Type", "").startswith(PROBLEM_TYPE):
        return Problem.from_body(sign.status_code, sign.json()).detail
    return "it is there, and has not answered yet"
