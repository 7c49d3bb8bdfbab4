"""No page and no help text shows a command line that would be refused."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from command_lines import ROOT, check, mentioned, shown, simple_commands, workspace

from midstream.command.main import cli
from midstream.mathematics.inputs.content_keys import KEY_BYTES
from midstream.plugins import PluginError
from midstream.run.poisons.poison import Poison

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

# What stands between backticks and is no command.
NO_COMMANDS = ["midstream batch signature 1"]

PLACEHOLDERS = {
    "figure N": "figure 3",
    "reproduce TABLE": "reproduce table-2",
    "FOLDER/scenario.yaml": "scenarios/digits-clean.yaml",
    "--list NAME": "--list level-1",
    "prepare NAME": "prepare vae",
    "--epochs E": "--epochs 10",
}


def of_pages(lines: Callable[[str], Iterable[str]]) -> list[object]:
    return [
        pytest.param(line, id=f"{page.name}: {line[:60]}")
        for page in PAGES
        for line in dict.fromkeys(lines(page.read_text(encoding="utf-8")))
        if line not in NO_COMMANDS
    ]


SHOWN, MENTIONED = of_pages(shown), of_pages(mentioned)


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, **cli.context_settings)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(cli, "midstream"))


def check_all(line: str) -> None:
    for words in simple_commands(line):
        check(words)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a reader who has saved what the pages tell them to."""
    folder = tmp_path_factory.mktemp("reader")
    workspace(folder)
    poisons = folder / "DIR"
    poisons.mkdir()
    np.savez(poisons / "poison.npz", perturbations=np.zeros((2, 1, 8, 8), np.float32))
    numbers = torch.zeros(2, dtype=torch.int64)
    hashes = torch.zeros(2, KEY_BYTES, dtype=torch.uint8)
    Poison(numbers, hashes, torch.zeros(2, 1, 8, 8), numbers.clone(), numbers.clone(), card={}).write(
        poisons / "poison.safetensors"
    )
    return folder


@pytest.fixture(autouse=True)
def in_the_readers_folder(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reader)


@pytest.mark.parametrize("line", SHOWN)
def test_a_page_shows_what_can_be_entered(line: str) -> None:
    check_all(line)


@pytest.mark.parametrize("line", MENTIONED)
def test_a_page_mentions_what_there_is(line: str) -> None:
    try:
        for placeholder, value in PLACEHOLDERS.items():
            line = line.replace(placeholder, value)
        check_all(line)
    except click.MissingParameter:
        pass
    except click.BadOptionUsage as error:
        assert "requires an argument" in error.message  # noqa: PT017


def test_pages_show_commands() -> None:
    assert len(SHOWN) > 20
    assert len(MENTIONED) > 10


@pytest.mark.parametrize("path", COMMANDS)
def test_every_help_text_ends_with_an_example(path: str) -> None:
    last = (COMMANDS[path].help or "").strip().splitlines()[-1].strip()
    assert last.startswith(f"Example: {path}"), f"{path} --help ends with {last!r}"
    check_all(last.removeprefix("Example: "))


@pytest.mark.parametrize(
    "line",
    [
        "midstream play --epocs 3",
        "midstream play --epochs 0",
        "midstream plya",
        "midstream figure 5",
        "midstream play --attacker levl-1",
        "midstream play --defender level-1,bta=1",
        "midstream attack --gradient mine",
        "midstream play scenarios/none.yaml",
        "make demmo",
        "python -m benchmark",
    ],
)
def test_what_cannot_be_entered_is_found(line: str) -> None:
    with pytest.raises((click.ClickException, PluginError, ValueError)):
        check_all(line)


def test_lines_are_found_wherever_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Enter `midstream play\n--json` or\n\n    midstream serve \\\n      --port 0   # now\n\n"
        "```sh\n$ A=1 make demo\n```\n\n```python\nmidstream = 1\n```\n"
    )
    found = [words for line in shown(page.read_text()) for words in simple_commands(line)]
    assert found == [["make", "demo"], ["midstream", "serve", "--port", "0"]]
    assert mentioned(page.read_text()) == ["midstream play --json"]
