"""The `midstream` command. Each subcommand's module is imported only when that subcommand runs."""

import atexit
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem

from midstream.command.parent import end_with_parent
from midstream.errors import MidstreamError
from midstream.protocol.problem import Problem

# The three processes of a game share a machine, so waiting threads must sleep instead of spin. OpenMP reads
# this when torch is first imported, which happens later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_COMMANDS = {
    "demo": (
        "midstream.command.demo",
        "play",
        "Play three games on digits: clean, attacked, defended.",
    ),
    "play": ("midstream.command.play", "play", "Play one game and print its result."),
    "sweep": (
        "midstream.command.sweep.command",
        "play",
        "Play every combination of settings; print a table.",
    ),
    "results": (
        "midstream.command.sweep.results_command",
        "play",
        "Print the tables of sweeps that were played.",
    ),
    "inspect": ("midstream.command.inspection", "play", "Show one run: settings, result and learning curve."),
    "compare": ("midstream.command.comparison", "play", "Compare several runs."),
    "prepare": ("midstream.command.prepare", "play", "Pretrain a player before a game."),
    "robustness": ("midstream.command.robustness", "play", "Attack a finished model at test time."),
    "plugins": ("midstream.command.plugins_check", "play", "Check your own attacker or defender."),
    "figure": ("midstream.command.figures.command", "play", "Regenerate a figure of the paper."),
    "estimate": ("midstream.command.estimate", "play", "Estimate M and the number of PGD steps."),
    "serve": ("midstream_server.command", "server", "Run the training server."),
    "provide": ("midstream_provider.command", "provider", "Run the data provider."),
    "attack": ("midstream_proxy.command", "proxy", "Run the attacking proxy, the man in the middle."),
    "tokens": ("midstream.command.tokens", "server", "Write new access tokens to a private file."),
    "completion": ("midstream.command.completion", "play", "Print a shell completion script."),
}


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in _COMMANDS:
            return None
        module, extra, _ = _COMMANDS[name]
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("midstream"):
                raise
            raise click.ClickException(
                f"'midstream {name}' needs the package {error.name!r}: pip install 'midstream[{extra}]'"
            ) from error
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            nearest = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"There are {', '.join(_COMMANDS)}."
            raise click.UsageError(f"There is no command {args[0]!r}; {hint}", context)
        return super().resolve_command(context, args)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(context, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_, _, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


_EXIT_CODES = """\b
Exit codes:
  0    success, or a service was stopped
  1    failure; the last line on standard error gives the reason
  2    invalid command line
  130  interrupted by Ctrl-C or SIGTERM
"""


@click.command(
    cls=_Commands,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": False},
)
@click.version_option(package_name="midstream")
def cli() -> None:
    """Attack and defend training data in flight.

    \b
    Example: midstream demo
    """


def main(words: Sequence[str] | None = None) -> None:
    """Run a command. An error that the user can fix is printed as one sentence, without a traceback.

    Args:
        words: the command and its options; `sys.argv[1:]` by default.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C; children stop, too
    end_with_parent()
    try:
        cli.main(words, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("midstream: interrupted", err=True)
        sys.exit(130)
    except Problem as problem:
        _fail(f"{problem.title}: {problem.detail}")
    except (MidstreamError, OSError, ValueError) as error:
        _fail(str(error))
    finally:
        # A second Ctrl-C would interrupt the libraries' exit handlers and print their traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            atexit.register(signal.signal, number, signal.SIG_IGN)


def _fail(sentence: str) -> None:
    click.echo(f"midstream: {sentence}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
