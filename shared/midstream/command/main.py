"""The `midstream` command.

A subcommand's module is imported only when that subcommand is named. It declares the options. It imports
torch and the libraries for HTTP and plots only when the subcommand runs, so that help is quick.
"""

import atexit
import os
import signal
import sys
from collections.abc import Sequence

import click

from midstream.command.explain import explained
from midstream.command.games.parent import end_with_parent
from midstream.console.commands import Commands, Entry
from midstream.errors import MidstreamError
from midstream.protocol.problem import Problem
from midstream.run.process.freed_memory import keep_freed_memory

# The three processes of a game share a machine, so waiting threads must sleep instead of spin. OpenMP reads
# this when torch is first imported, which happens later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_COMMANDS = {
    "demo": Entry("midstream.command.demo", "play", "Play three games on digits: clean, attacked, defended."),
    "play": Entry("midstream.command.play", "play", "Play one game and print its result."),
    "sweep": Entry(
        "midstream.command.sweep.command", "play", "Play every combination of settings; print a table."
    ),
    "results": Entry(
        "midstream.command.results.command", "play", "Print the tables of sweeps that were played."
    ),
    "inspect": Entry(
        "midstream.command.runs.inspection", "play", "Show one run: settings, result and learning curve."
    ),
    "compare": Entry("midstream.command.runs.comparison", "play", "Compare several runs."),
    "report": Entry("midstream.command.runs.report", "play", "Write runs as one HTML page."),
    "export": Entry(
        "midstream.command.export.command", "play", "Write what a run's attacker sent to one file."
    ),
    "prepare": Entry("midstream.command.prepare", "play", "Pretrain a player before a game."),
    "robustness": Entry("midstream.command.robustness", "play", "Attack a finished model at test time."),
    "plugins": Entry("midstream.command.plugins_check", "play", "Check your own player."),
    "figure": Entry("midstream.command.figures.command", "play", "Regenerate a figure of the paper."),
    "reproduce": Entry(
        "midstream.command.reproduce.command", "play", "Play the paper's tables, beside its figures."
    ),
    "estimate": Entry("midstream.command.estimate", "play", "Estimate M and the number of PGD steps."),
    "serve": Entry("midstream_server.command", "server", "Run the training server."),
    "provide": Entry("midstream_provider.command", "provider", "Run the data provider."),
    "attack": Entry("midstream_proxy.command", "proxy", "Run the attacking proxy, the man in the middle."),
    "tokens": Entry("midstream.command.tokens", "server", "Write new access tokens to a private file."),
    "examples": Entry("midstream.command.examples", "play", "Copy examples, scenarios and grids."),
    "explain": Entry("midstream.command.explain", "play", "Say what an error means and what to do."),
    "completion": Entry("midstream.command.completion", "play", "Print a shell completion script."),
}

_EXIT_CODES = """\b
Exit codes:
  0    success, or a service was stopped
  1    failure; the last line on standard error gives the reason
  2    invalid command line
  130  interrupted by Ctrl-C or SIGTERM
"""


@click.command(
    cls=Commands,
    entries=_COMMANDS,
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
    keep_freed_memory()  # before the first thread, which else gets a heap of its own
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
        _fail(explained(error))
    finally:
        # A second Ctrl-C would interrupt the libraries' exit handlers and print their traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            atexit.register(signal.signal, number, signal.SIG_IGN)


def _fail(sentence: str) -> None:
    click.echo(f"midstream: {sentence}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
