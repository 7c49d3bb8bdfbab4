"""docs/commands.md: each command's own help text, and the exit codes."""

import textwrap
from collections.abc import Iterator

import click

from docs.references.markdown import WRITTEN, described
from midstream.command.main import cli

_WIDTH = 100

_HEAD = """# Commands

What each command's `--help` prints. Options that name a setting are in [the
configuration](configuration.md) with their environment variables.

`--json` prints exactly one JSON object on standard output; progress, warnings and errors go to standard
error, so that a program can read the one and a person the other. Progress is a bar at a terminal and a
line now and then anywhere else. `NO_COLOR` in the environment keeps colours away.

## Exit codes

"""

_COMPLETION = """
## Completion

A shell completes commands, options and their values at TAB once it has the script of `midstream
completion`: for bash in `~/.local/share/bash-completion/completions/midstream`, for zsh as `_midstream`
in a folder of `$fpath`, for fish in `~/.config/fish/completions/midstream.fish`.
"""


def walk(
    command: click.Command, name: str = "midstream", parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    """Give every command's path, and a context to ask its help of."""
    context = click.Context(
        command, parent, name, terminal_width=_WIDTH, max_content_width=_WIDTH, **command.context_settings
    )
    yield context.command_path, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from walk(child, name, context)


def page() -> str:
    """Return the page.

    Raises:
        Undocumented: a command or an option has no help text.
    """
    codes = textwrap.dedent((cli.epilog or "").partition("codes:\n")[2]).rstrip()
    parts = [WRITTEN, _HEAD, f"```text\n{codes}\n```\n", _COMPLETION]
    for path, context in walk(cli):
        described(path, context.command.help)
        for option in context.command.params:
            if isinstance(option, click.Option):
                described(f"{path} {option.opts[0]}", option.help)
        shown = "\n".join(line.rstrip() for line in context.get_help().splitlines())
        parts.append(f"\n## {path}\n\n```text\n{shown}\n```\n")
    return "".join(parts)
