"""Liveness checks: whether a peer with a pending request is still working on it, or gone."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any

import httpx

from midstream.players.reporting import Say
from midstream.protocol.problem import PROBLEM_TYPE, Problem
from midstream.web.tls import Verify

LIVE = "/health/live"

BACK = "it was silent and is back; the request is sent again"

_PATIENCE = 2.0  # seconds of waiting before the first liveness check and the first message
_SIGN_WITHIN = 5.0
_SAID_WITHIN = 0.5  # seconds without a response to the first check until the wait is said


def _kept_alive() -> list[tuple[int, int, int]]:
    """Return the keep-alive options of a socket whose peer may vanish silently."""
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
"""Socket options with which the system detects a vanished peer within half a minute."""


class Pace:
    """The timing of liveness checks.

    Attributes:
        every: seconds between two checks, and between a request and its first check.
        within: seconds that the response to a check may take.
        enough: seconds of silence, measured after a check, before the peer counts as dead.

    Args:
        silent_after: seconds within which a dead peer must be detected.
    """

    def __init__(self, silent_after: float) -> None:
        self.every = min(_PATIENCE, silent_after / 15)
        self.within = min(_SIGN_WITHIN, silent_after / 6)
        self.enough = silent_after - self.every - self.within


class Watch:
    """Watches a client's pending request, and aborts it if the peer is dead.

    After two seconds it says what the client waits for, and checks the peer periodically over a separate
    connection. A peer that responds may take as long as it needs for the request. The request's connection
    is closed, so that the request fails, in two cases: the peer did not respond for `silent_after` seconds;
    or it failed a check and then responded again, so that the fate of the request is unknown.

    Args:
        url: the peer's base URL.
        silent_after: seconds without a response to a check before the peer counts as dead.
        verify: how to verify the peer's certificate if the URL is https.
        say: called with a sentence about the wait, whenever that sentence changes.
    """

    def __init__(self, url: str, *, silent_after: float, verify: Verify, say: Say) -> None:
        self._url = url
        self._pace = Pace(silent_after)
        self._verify = verify
        self._say = say
        self._lock = Lock()
        self._since: float | None = None  # when the pending request began
        self.heard = time.monotonic()
        """When the peer last passed a check, or this watch began."""
        self.verdict = ""
        """Why the last request was aborted; empty if it was not."""
        self._stream: Any = None  # of the newest connection
        self._missed = False  # whether the peer failed a check during the pending request
        self._told = ""
        self._closing = Event()
        self._thread: Thread | None = None

    @contextmanager
    def during(self) -> Iterator[dict[str, object]]:
        """Watch the request made in this context; it must use the yielded extensions."""
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
        """Stop watching."""
        self._closing.set()

    def _traced(self, event: str, info: Mapping[str, object]) -> None:
        # There is one request at a time, and it uses the connection that was opened last.
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]

    def _watch(self) -> None:
        with ExitStack() as stack:
            peer: httpx.Client | None = None
            greeted: float | None = None
            while not self._closing.wait(self._pace.every / 4):
                since = self._since
                if since is None or time.monotonic() - since < self._pace.every:
                    continue
                if peer is None:
                    peer = httpx.Client(base_url=self._url, trust_env=False, verify=self._verify)
                    stack.enter_context(peer)
                asked = time.monotonic()
                if since != greeted:
                    greeted = since
                    self._greet(peer, since)
                self._look(peer, since)
                self._closing.wait(max(0.0, asked + self._pace.every - time.monotonic()))

    def _greet(self, peer: httpx.Client, since: float) -> None:
        """Say that there is a wait, if the peer does not respond at once; nothing else follows from it."""
        if self._pace.within <= _SAID_WITHIN or sign_of(peer, within=_SAID_WITHIN)[0]:
            return
        if self._since == since:
            self._tell("no answer yet")

    def _look(self, peer: httpx.Client, since: float) -> None:
        lives, words = sign_of(peer, within=self._pace.within)
        if lives:
            self.heard = time.monotonic()
        silent = time.monotonic() - max(since, self.heard)
        with self._lock:
            if self._since != since:
                return  # the request has finished meanwhile
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
            with suppress(OSError):  # it may be closed already
                # Shut down the plain socket, not TLS: another thread is reading from the latter.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def sign_of(peer: httpx.Client, *, within: float) -> tuple[bool, str]:
    """Check a peer; return whether it responds within so many seconds, and a sentence about it."""
    try:
        return True, words_of(peer.get(LIVE, timeout=within))
    except httpx.HTTPError as error:
        return False, str(error) or type(error).__name__


def words_of(sign: httpx.Response) -> str:
    """Return the sentence in a check's response; a proxy responds even if the server behind it does not."""
    if sign.status_code >= 500 and sign.headers.get("Content-Type", "").startswith(PROBLEM_TYPE):
        return Problem.from_body(sign.status_code, sign.json()).detail
    return "it is alive, and has not answered yet"
