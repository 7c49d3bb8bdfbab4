"""Where a server starts no games from the dashboard."""

import os
import socket
from pathlib import Path

import click

from midstream.console.service_options import is_loopback


def refuse_games(host: str, fd: int | None, certificate: Path | None, require_signature: Path | None) -> None:
    """Refuse to start processes for anyone beyond this machine, or where these processes could not play.

    Args:
        host: the address to listen on.
        fd: a listening socket that is used instead of it.
        certificate: the file of a certificate, if the server serves with TLS.
        require_signature: the file of a key, if the server requires signatures.

    Raises:
        click.UsageError: the server is to start no games; the message says why.
    """
    where = f"--host {host}"
    if fd is not None:
        with socket.socket(fileno=os.dup(fd)) as listener:
            host = str(listener.getsockname()[0])
        where = f"the socket of --fd, on {host},"
    if not is_loopback(host):
        raise click.UsageError(
            f"--games starts processes for whoever opens the dashboard, and {where} is reached from other "
            f"machines; use --host 127.0.0.1"
        )
    for flag, given in (("--certificate", certificate), ("--require-signature", require_signature)):
        if given is not None:
            raise click.UsageError(
                f"--games starts players that know nothing of {flag}; leave one of them out"
            )
