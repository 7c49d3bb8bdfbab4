"""Command lines as pages and help texts show them, held against the commands there are."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click

from midstream import plugins
from midstream.command.main import cli
from midstream.console.specification_options import specification_of

ROOT = Path(__file__).parent.parent

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SHOWN = re.compile(r"(?:\w+=\S+ )*(?:midstream|make|python -m) .*")
_INLINE = re.compile(r"`((?:midstream|make) [^`]+)`")
_SAVED = re.compile(r"^```\w+\n((?:(?!```).*\n)*)```\n\nSave this as `([\w.]+)`", re.MULTILINE)
_TARGETS = re.compile(r"^([a-z-]+):", re.MULTILINE)
_PLAYERS: dict[str, Literal["attackers", "defenders"]] = {"attacker": "attackers", "defender": "defenders"}


def shown(markdown: str) -> Iterator[str]:
    """Give every command line in a page's code blocks."""
    prose = _FENCE.sub("", markdown)
    blocks = [content for language, content in _FENCE.findall(markdown) if language in ("", "sh", "console")]
    blocks.append("\n".join(line for line in prose.splitlines() if line.startswith("    ")))
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if _SHOWN.fullmatch(line):
            yield line


def mentioned(markdown: str) -> list[str]:
    """Return the commands that a page names between backticks, whole or in part."""
    return [" ".join(span.split()) for span in _INLINE.findall(_FENCE.sub("", markdown))]


def simple_commands(line: str) -> Iterator[list[str]]:
    """Give the words of each command of a line, as a shell splits it, without settings before it.

    >>> list(simple_commands("A=1 midstream play --json | head; make demo  # at last"))
    [['midstream', 'play', '--json'], ['head'], ['make', 'demo']]
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(lexer.punctuation_chars):
            if words:
                yield words
            words = []
        elif words or not re.match(r"\w+=", word):
            words.append(word)


def workspace(folder: Path) -> None:
    """Fill a folder with links to the repository's files, and with what pages tell readers to save."""
    for entry in ROOT.iterdir():
        (folder / entry.name).symlink_to(entry)
    for page in sorted((ROOT / "docs").glob("*.md")):
        for content, name in _SAVED.findall(page.read_text(encoding="utf-8")):
            (folder / name).write_text(content)


def check(words: list[str]) -> None:
    """Fail where a command line would be refused for what it says: names, options, values, players.

    Raises:
        click.ClickException: midstream refuses it.
        ValueError: there is no such target or module.
    """
    if words[0] == "midstream":
        _check_midstream(words[1:])
    elif words[0] == "make":
        targets = _TARGETS.findall((ROOT / "Makefile").read_text())
        unknown = [word for word in words[1:] if "=" not in word and word not in targets]
        if unknown:
            raise ValueError(f"the Makefile has no target {unknown}")
    elif words[:2] == ["python", "-m"] and importlib.util.find_spec(words[2]) is None:
        raise ValueError(f"there is no module {words[2]}")


def _check_midstream(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="midstream", **cli.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    try:
        context = command.make_context(command.name, list(words), parent=context)
    except click.exceptions.Exit:  # --help, --list
        return
    settings: dict[str, Any] = context.params
    for name, kind in _PLAYERS.items():
        named = settings.get(name) or ()
        for text in (named,) if isinstance(named, str) else named:
            plugins.make(kind, text)
    if "dataset" in settings and "batch_size" in settings and command.name != "sweep":
        specification_of(settings)
