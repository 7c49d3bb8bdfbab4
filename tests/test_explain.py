"""Every explained error exists, and its message says where the explanation is."""

import re
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from midstream import errors
from midstream.command.explain import code_of, command, explanations, page
from midstream.command.main import cli, main
from midstream.run.datasets.dataset_checks import DifferentDatasetError
from midstream.run.pretrained.prepared import LearningError
from midstream.storage.seal import BrokenSealError

ROOT = Path(__file__).parents[1]


def options(group: click.Group, context: click.Context) -> set[str]:
    """Return every long option of every command."""
    found: set[str] = set()
    for name in group.list_commands(context):
        sub = group.get_command(context, name)
        assert sub
        found |= options(sub, context) if isinstance(sub, click.Group) else set()
        found |= {word for parameter in sub.params for word in parameter.opts if word.startswith("--")}
    return found


@pytest.mark.parametrize("code", explanations())
def test_each_code_is_an_error_of_the_tree(code: str) -> None:
    name = "".join(part.capitalize() for part in code.split("-")) + "Error"
    assert re.search(rf"── {name} ", str(errors.__doc__))


def test_the_sections_are_in_order_and_name_options_that_exist() -> None:
    codes = list(explanations())
    assert codes == sorted(codes)
    known = options(cli, click.Context(cli))
    assert set(re.findall(r"`(?:midstream \w+ )?(--[a-z-]+)", page())) <= known


def test_the_nearest_class_is_explained() -> None:
    assert code_of(DifferentDatasetError("x")) == "different-dataset"
    assert code_of(LearningError("x")) == "learning"
    assert code_of(BrokenSealError("x")) is None
    assert code_of(OSError("x")) is None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["play", "--attacker", "levle-1", "--transport", "local"], "plugin"),
        (["play", "--dataset", "mnist", "--data-root", "nowhere", "--transport", "local"], "missing-data"),
    ],
)
def test_a_failing_command_names_its_explanation(
    words: Sequence[str],
    code: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("midstream.command.main.end_with_parent", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    with pytest.raises(SystemExit):
        main([*words])
    assert capsys.readouterr().err.rstrip().endswith(f"(midstream explain {code})")


def test_a_section_is_printed_without_links() -> None:
    text = CliRunner().invoke(command, ["dataset"]).output
    assert text.startswith("A data set breaks a rule")
    assert "](" not in text
    assert CliRunner().invoke(command, ["nothing"]).exit_code == 2
    assert all(code in CliRunner().invoke(command).output for code in explanations())
