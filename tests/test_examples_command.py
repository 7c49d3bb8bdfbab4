"""`midstream examples` gives a reader of the pages every file that they name."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from midstream.command.examples import FOLDERS, ExamplesError, command, copy_examples, example_files

ROOT = Path(__file__).parents[1]


def test_every_file_of_the_repository_is_copied_as_it_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    for name in (
        "examples/disguise.py",
        "scenarios/digits-signed.yaml",
        "experiments/grids/levels-digits.yaml",
    ):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    assert {path.parts[0] for path in example_files()} == {folder.split("/")[0] for folder in FOLDERS}


def test_a_second_copy_changes_nothing(tmp_path: Path) -> None:
    assert copy_examples(tmp_path)
    assert copy_examples(tmp_path) == []


def test_an_edited_example_is_not_overwritten(tmp_path: Path) -> None:
    copy_examples(tmp_path)
    edited, missing = tmp_path / "examples/disguise.py", tmp_path / "scenarios/digits-clean.yaml"
    edited.write_text("mine")
    missing.unlink()
    with pytest.raises(ExamplesError, match=r"disguise\.py exists and differs"):
        copy_examples(tmp_path)
    assert edited.read_text() == "mine"
    assert not missing.exists()


def test_nothing_is_written_through_a_link_or_in_the_place_of_a_file(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    (target / "examples").mkdir(parents=True)
    (target / "examples/disguise.py").symlink_to(elsewhere)
    with pytest.raises(ExamplesError, match=r"disguise\.py exists and differs"):
        copy_examples(target)
    (target / "examples/disguise.py").unlink()
    (target / "scenarios").write_text("mine")
    with pytest.raises(ExamplesError, match="scenarios is not a folder"):
        copy_examples(target)
    assert not elsewhere.exists()
    assert not any((target / "examples").iterdir())
