"""`midstream`: the commands, each loaded only when it is asked for."""

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

# Three processes share a machine: a thread that waits for its siblings must sleep, not spin. It is read
# when torch is first imported, which is later than this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_COMMANDS = {
    "demo": ("midstream.command.demo", "play", "Clean, attacked, defended: three games on embedded digits."),
    "play": ("midstream.command.play", "play", "Play one game and report how it ended."),
    "inspect": ("midstream.command.inspection", "play", "What a run was, and how it went."),
    "compare": ("midstream.command.comparison", "play", "Several runs beside one another."),
    "prepare": ("midstream.command.prepare", "play", "Have a player learn what it must before a game."),
    "robustness": ("midstream.command.robustness", "play", "A finished model under test-time attacks."),
    "plugins": ("midstream.command.plugins_check", "play", "Check an attacker or a defender of your own."),
    "figure": ("midstream.command.figures.command", "play", "Regenerate a figure of the paper."),
    "estimate": ("midstream.command.estimate", "play", "M on a white image, and the PGD steps it asks for."),
    "serve": ("midstream_server.command", "server", "The training server."),
    "provide": ("midstream_provider.command", "provider", "The data provider."),
    "attack": ("midstream_proxy.command", "proxy", "The man in the middle."),
    "tokens": ("midstream.command.tokens", "server", "Fresh tokens for a server, in a file of yours alone."),
    "completion": ("midstream.command.completion", "play", "A script that completes commands at TAB."),
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
  0    done; a service that was stopped, too
  1    it did not end well, and the last line on standard error says why
  2    the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM, before it was done
"""


@click.command(
    cls=_Commands,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": False},
)
@click.version_option(package_name="midstream")
def cli() -> None:
    """Training data attacked, and defended, in flight.

    \b
    Example: midstream demo
    """


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; whatever goes wrong that a person can mend is one sentence, without a traceback.

    Args:
        words: the command and its options; those of the command line by default.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops like Ctrl-C, children included
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
        # Pressed twice, Ctrl-C would interrupt the libraries' own last words, with their traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            atexit.register(signal.signal, number, signal.SIG_IGN)


def _fail(sentence: str) -> None:
    click.echo(f"midstream: {sentence}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
