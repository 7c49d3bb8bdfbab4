"""The reference pages of docs/, written from the code by `python -m docs.references`."""

from collections.abc import Callable

from docs.references import commands, configuration, players, rest, results
from midstream.command import explain

PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands.page,
    "configuration.md": configuration.page,
    "players.md": players.page,
    "rest.md": rest.page,
    "results.md": results.page,
    "troubleshooting.md": explain.page,
}
