"""A group of commands. Each command's module is imported only when that command runs."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """One command of a group.

    Attributes:
        module: the module that defines it, as `command`.
        extra: the extra that installs what it needs, as in `pip install 'midstream[play]'`.
        summary: its line in the group's help, which is thus printed without importing the module.
    """

    module: str
    extra: str
    summary: str


class Commands(click.Group):
    """A click group that imports a command's module on demand.

    Args:
        entries: its commands by name, in the order of the help.
        settings: as for `click.Group`.
    """

    def __init__(self, *, entries: Mapping[str, Entry], **settings: Any) -> None:
        super().__init__(**settings)
        self._entries = entries

    def list_commands(self, context: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return list(self._entries)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import and return a command, or return None if there is none of that name.

        Raises:
            click.ClickException: a package that the command needs is not installed.
        """
        if name not in self._entries:
            return None
        with self._packages(context, name):
            command: click.Command = importlib.import_module(self._entries[name].module).command
        return command

    def invoke(self, context: click.Context) -> object:
        """Run the command that the arguments name.

        Raises:
            click.ClickException: a package that the command needs is not installed.
        """
        with self._packages(context):
            return super().invoke(context)

    @contextmanager
    def _packages(self, context: click.Context, name: str | None = None) -> Iterator[None]:
        """Say how to install a package that a command lacks."""
        try:
            yield
        except ModuleNotFoundError as error:
            name = name or context.invoked_subcommand
            if name is None or name not in self._entries or (error.name or "").startswith("midstream"):
                raise
            raise click.ClickException(
                f"'{context.command_path} {name}' needs the package {error.name!r}: "
                f"pip install 'midstream[{self._entries[name].extra}]'"
            ) from error

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, and the arguments after it.

        Raises:
            click.UsageError: there is no such command; the message names the nearest one.
        """
        if args and args[0] not in self._entries and not args[0].startswith("-"):
            nearest = get_close_matches(args[0], self._entries, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"There are {', '.join(self._entries)}."
            raise click.UsageError(f"There is no command {args[0]!r}; {hint}", context)
        return super().resolve_command(context, args)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands, or options, that complete a word."""
        if incomplete.startswith("-"):
            return super().shell_complete(context, incomplete)
        return [
            CompletionItem(name, help=entry.summary)
            for name, entry in self._entries.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._entries.items()])
