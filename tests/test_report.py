"""A report holds what was played, in one file that asks for nothing else."""

import re
from html.parser import HTMLParser
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner

import midstream
from midstream.command.runs.played import read_run
from midstream.command.runs.report import command, report
from midstream.command.runs.tracked import samples


class Elements(HTMLParser):
    """The elements of a page, its text, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> midstream.GameResult:
    out = tmp_path_factory.mktemp("report")
    return midstream.play(attacker="level-1", defender="level-1", max_steps=3, train_size=100, out=out)


def test_a_report_names_both_sides_and_the_result(played: midstream.GameResult, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = CliRunner().invoke(command, [str(played.folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    page = Elements(out.read_text())
    for words in ("level-1", f"{played.test_accuracy:.3f}", "environment: torch", "1.5 l2", "batch 2"):
        assert words in page.text
    assert page.names.count("img") == 2
    assert "script" not in page.names
    assert all(link.startswith("data:image/png;base64,") for link in page.loads)


def test_a_label_cannot_bring_its_own_elements(played: midstream.GameResult) -> None:
    page = Elements(report({"<script>1</script>' onerror='1": read_run(str(played.folder))}))
    assert "script" not in page.names
    assert re.search(r"<script>1</script>", page.text)
    assert "alt" in page.attributes
    assert "onerror" not in page.attributes


def test_a_picture_that_is_not_the_runs_is_left_out(played: midstream.GameResult, tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    copytree(played.folder, folder)
    (folder / "samples/notes.png").write_bytes(b"not from this run")
    run = read_run(str(folder))
    assert Elements(report({"copied": run})).names.count("img") == 2
    assert [path.stem for _, path in samples(run)] == ["0000000", "0000001", "0000002"]
