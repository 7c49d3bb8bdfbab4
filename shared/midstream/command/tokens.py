"""`midstream tokens`: fresh tokens for a server."""

from pathlib import Path

import click

from midstream.protocol.tokens import write_tokens


@click.command("tokens")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Write fresh tokens for observer, provider and operator into a new FILE that only you can read.

    \b
    Example: midstream tokens tokens.yaml; midstream serve --host 0.0.0.0 --tokens tokens.yaml
    """
    write_tokens(file)
    click.echo(f"{file} holds a token a role; hand each to who has the role: grep provider {file}", err=True)
