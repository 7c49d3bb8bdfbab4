"""`midstream explain`: what an error means and what to do, from the page on troubleshooting."""

import re
from functools import cache
from importlib.resources import files

import click

from midstream.errors import MidstreamError

_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def page() -> str:
    """Return the page on troubleshooting, as Markdown."""
    return files(__package__).joinpath("explanations.md").read_text(encoding="utf-8")


@cache
def explanations() -> dict[str, str]:
    """Return the text of each section of the page by its code."""
    _, *sections = re.split(r"^## ", page(), flags=re.MULTILINE)
    return {code: text.strip() for code, _, text in (section.partition("\n") for section in sections)}


def code_of(error: BaseException) -> str | None:
    """Return the code under which an error or its nearest base class is explained, or None.

    The code is the name of the class in small letters, without `Error`.

    >>> from midstream.plugins.naming import PluginError
    >>> code_of(PluginError("there is no attacker called 'x'"))
    'plugin'
    >>> code_of(ValueError("x"))
    """
    for kind in type(error).__mro__:
        if issubclass(kind, MidstreamError):
            code = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removesuffix("Error")).lower()
            if code in explanations():
                return code
    return None


def explained(error: BaseException) -> str:
    """Return an error's message, with the command that says more if there is one."""
    code = code_of(error)
    return f"{error}" if code is None else f"{error} (midstream explain {code})"


@click.command("explain")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Say what an error means and what to do. Without CODE, list the codes.

    \b
    Example: midstream explain missing-data
    """
    texts = explanations()
    if code is None:
        for name, text in texts.items():
            first = re.split(r"\.(?:\s|$)", _plain(text), maxsplit=1)[0]
            click.echo(f"  {name:<20} {' '.join(first.split())}")
    elif code in texts:
        click.echo(_plain(texts[code]))
    else:
        raise click.UsageError(f"there is no code {code!r}; midstream explain lists them")


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown)
