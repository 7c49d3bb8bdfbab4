"""Options of the services and of their clients: addresses, tokens, TLS, signatures, the status page."""

import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click

from midstream.console.options import Command, option, together
from midstream.protocol.tokens import Tokens, read_token, read_tokens
from midstream.web.hosts import names_of
from midstream.web.places import REQUESTS, WATCHERS

T = TypeVar("T")

ca_option = option(
    "--ca",
    type=click.Path(path_type=Path),
    help="The only authority (PEM) trusted to sign the server's certificate; the public ones by default.",
)

status_option = option(
    "--status-port",
    type=click.IntRange(0, 65535),
    help="Serve a status page on this port of 127.0.0.1; 0 picks a free port; no page by default.",
)

sign_option = option(
    "--sign-key", type=click.Path(path_type=Path), help="Sign each batch with the key in this file."
)

token_option = option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with the token that the server requires; MIDSTREAM_TOKEN by default.",
)


reading_options = together(token_option, ca_option)
"""Options for reading a run from a server."""


def listen_options(port: int) -> Callable[[Command], Command]:
    """Return the options of a service that listens.

    Args:
        port: the default port.
    """
    return together(
        option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        option(
            "--port",
            default=port,
            show_default=True,
            type=click.IntRange(0, 65535),
            help="Port to listen on; 0 picks a free port.",
        ),
        option(
            "--tokens",
            type=click.Path(path_type=Path),
            help="Require a token on every request: a file from 'midstream tokens', or MIDSTREAM_…_TOKEN.",
        ),
        option(
            "--certificate",
            type=click.Path(path_type=Path),
            help="Serve TLS with this certificate (PEM, followed by its chain).",
        ),
        option(
            "--key",
            type=click.Path(path_type=Path),
            help="Private key of the certificate; read from the certificate's file by default.",
        ),
        option(
            "--max-requests",
            type=click.IntRange(1),
            default=REQUESTS,
            show_default=True,
            help="Batches and attackers' reads handled at once; clients must retry any others.",
        ),
        option(
            "--max-watchers",
            type=click.IntRange(1),
            default=WATCHERS,
            show_default=True,
            help="Event streams, long polls and other reads open at once; one client may have half of them.",
        ),
        option(
            "--allow-host",
            multiple=True,
            help="Another name or address of this service, besides localhost and its own address.",
        ),
        option(
            "--insecure",
            is_flag=True,
            help="Listen beyond this machine without tokens: whoever reaches the port has access.",
        ),
        option("--fd", type=int, help="Listen on this inherited socket instead of host and port."),
    )


def is_whole_url(url: str) -> bool:
    """Return whether a text is an http or https URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def whole_url(_: click.Context, __: click.Parameter, url: str) -> str:
    """Click callback: return a service's base URL.

    Raises:
        click.BadParameter: the text is not such a URL.
    """
    if not is_whole_url(url):
        raise click.BadParameter(f"{url!r} is not a URL such as http://127.0.0.1:8000")
    return url


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("lab")
    (True, True, False, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_address(host: str, *, tokens: Tokens | None, encrypted: bool, insecure: bool) -> None:
    """Refuse to listen beyond this machine without tokens, unless the operator passed `--insecure`.

    Tokens over plain HTTP only cause a warning, because a proxy in front of the service may add TLS.

    Raises:
        click.UsageError: other machines can reach the address, and the service requires no tokens.
    """
    loopback = is_loopback(host)
    if not loopback and tokens is None and not insecure:
        raise click.UsageError(
            f"--host {host} would let other machines reach this service, and it requires no tokens. Add "
            f"--tokens FILE (from 'midstream tokens FILE'), use 127.0.0.1, or add --insecure if nobody else "
            f"uses that network."
        )
    if not loopback and tokens is not None and not encrypted:
        click.echo("without --certificate, tokens reach this service in the clear", err=True)


def hosts_of(host: str, allowed: tuple[str, ...]) -> frozenset[str]:
    """Return the names of a service from `--host` and `--allow-host`.

    Raises:
        click.UsageError: one of them is not a host.
    """
    try:
        return names_of(host, allowed)
    except ValueError as error:
        raise click.UsageError(f"--allow-host: {error}") from error


def tokens_of(path: Path | None) -> Tokens | None:
    """Return a service's tokens from `--tokens` or the environment; None if there are none.

    Raises:
        click.UsageError: they cannot be read or used.
    """
    return _read(read_tokens, path, "--tokens")


def token_of(path: Path | None) -> str | None:
    """Return a client's token from `--token-file` or the environment; None if there is none.

    Raises:
        click.UsageError: it cannot be read or used.
    """
    return _read(read_token, path, "--token-file")


def _read(read: Callable[[Path | None, Mapping[str, str]], T], path: Path | None, flag: str) -> T:
    try:
        return read(path, os.environ)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{flag}: {error}") from error
