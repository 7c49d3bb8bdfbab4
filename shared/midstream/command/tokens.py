"""`midstream tokens`: write new access tokens for a server."""

from pathlib import Path

import click

from midstream.protocol.tokens import write_tokens


@click.command("tokens")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Write new tokens for observer, provider and operator to a new FILE that only you can read.

    \b
    Example: midstream tokens tokens.yaml; midstream serve --host 0.0.0.0 --tokens tokens.yaml
    """
    write_tokens(file)
    click.echo(
        f"{file} holds one token per role; to show one: grep provider {file}",
        err=True,
    )
