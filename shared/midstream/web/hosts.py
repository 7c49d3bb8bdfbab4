"""Host name checks, which protect a service from DNS rebinding and from pages of other sites."""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Receive, Scope, Send, send_problem

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://(?P<authority>.+)", re.IGNORECASE)
_ONCE = (b"host", b"origin", b"authorization")


class Hosts:
    """Refuses requests that name a different host, and requests from pages of other sites.

    A browser lets a page send requests to the host in the page's own URL. The owner of that name can later
    point it at 127.0.0.1 (DNS rebinding). The foreign name is then still in `Host`, and in `Origin` if the
    browser sends one; no page can alter either header. The names of this service are `localhost`, every
    loopback address, the address that the client connected to, and the names that its operator allows.

    Args:
        app: the application to protect.
        allowed: further names and addresses, without a port; from `names_of`.
    """

    def __init__(self, app: App, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 400, 403 or 421 without reading its body."""
        problem = None if scope["type"] == "lifespan" else self._refusal(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await send_problem(send, problem)

    def _refusal(self, scope: Scope) -> Problem | None:
        fields: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in fields:
                what = f"the request has two {name.decode().title()} headers; send one"
                return Problem(400, "A header is repeated", what)
            if name in _ONCE:
                fields[name] = value.decode("latin-1")
        reached = (scope.get("server") or ("",))[0]
        host = fields.get(b"host", "")
        name = host_of(host)
        if name is None:
            what = (
                f"the Host header is {host!r}; send the name of this service"
                if host
                else "send a Host header"
            )
            return Problem(400, "The request names no host", what)
        if not self._is_own(name, reached):
            what = f"this service is not known as {name!r}; if it is, start it with --allow-host {name}"
            return Problem(421, "The request names another host", what)
        origin = fields.get(b"origin")
        if origin is None:
            return None
        found = _ORIGIN.fullmatch(origin)
        site = host_of(found["authority"]) if found else None
        if site is None or not self._is_own(site, reached):
            what = f"a page of {origin!r} sent this, and this service is not known by that name"
            more = f"; if it is its own page, start it with --allow-host {site}" if site else ""
            return Problem(403, "Cross-site request", what + more)
        return None

    def _is_own(self, host: str, reached: str) -> bool:
        return host in self._allowed or host == "localhost" or _is_loopback(host) or host == host_of(reached)


def host_of(authority: str) -> str | None:
    """Return the host in `host` or `host:port` in canonical form; None if the text is neither.

    >>> host_of("LocalHost.:8000"), host_of("[0:0::1]:80"), host_of("::ffff:127.0.0.1"), host_of("a b")
    ('localhost', '::1', '127.0.0.1', None)
    """
    try:
        return _spelling(ipaddress.ip_address(authority))
    except ValueError:
        found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    name = found[1] or found[2].lower().removesuffix(".")
    try:
        return _spelling(ipaddress.ip_address(name))
    except ValueError:
        return (name or None) if found[1] is None else None


def names_of(host: str, allowed: Sequence[str] = ()) -> frozenset[str]:
    """Return the names of a service that listens on `host`: that host and the allowed names.

    For a service on every address of a machine (`0.0.0.0`, `::`), the machine's own name replaces `host`.

    >>> sorted(names_of("gpu-box.lan", ["Server"]))
    ['gpu-box.lan', 'server']

    Raises:
        ValueError: an entry of `allowed` is neither a name nor an address.
    """
    for name in allowed:
        host_of_it = host_of(name)
        if host_of_it is None or "[" in name or (":" in name and ":" not in host_of_it):
            raise ValueError(f"{name!r} is not a host; name one without scheme and port, such as server.lan")
    own = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    return frozenset(name for name in map(host_of, (own, *allowed)) if name is not None)


def _spelling(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
