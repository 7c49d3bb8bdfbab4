"""`midstream completion`: print a shell completion script."""

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands, options and their values.

    \b
    Save it where your shell looks for completions, then open a new shell:
      midstream completion bash > ~/.local/share/bash-completion/completions/midstream
      midstream completion zsh  > DIR/_midstream, where DIR is in $fpath
      midstream completion fish > ~/.config/fish/completions/midstream.fish

    \b
    Example: midstream completion bash
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "midstream", "_MIDSTREAM_COMPLETE").source())
