"""The documentation: written from the code where it can be, complete, and built without a warning."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from benchmarks.malformed import KINDS
from docs.references import PAGES, commands, configuration, markdown, players, rest
from fastapi import FastAPI

from midstream import plugins
from midstream.players.interface import Player
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry

ROOT = Path(__file__).parent.parent

WRITE = "import json; from docs.references import PAGES; print(json.dumps({n: PAGES[n]() for n in PAGES}))"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The pages as `make references` writes them, in a process of its own.

    click remembers a command's help option. A test that calls a command apart from `midstream` leaves it
    without the `-h` that it inherits there.
    """
    done = subprocess.run([sys.executable, "-c", WRITE], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.process
@pytest.mark.parametrize("name", PAGES)
def test_a_reference_is_what_the_code_says(name: str, pages: dict[str, str]) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == pages[name], f"docs/{name} is out of date: make references"


@pytest.mark.process
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "-d", str(tmp_path / "trees"), "docs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages <= {page.stem for page in tmp_path.glob("*.html")}


def test_a_setting_without_a_description_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(help="Do it.")
    @click.option("--mute", envvar="MIDSTREAM_MUTE")
    def mute() -> None:
        pass

    for module in (commands, configuration):
        monkeypatch.setattr(module, "cli", click.Group("midstream", {"serve": mute}, help="All."))
    with pytest.raises(markdown.Undocumented, match="midstream serve --mute"):
        commands.page()


def test_an_option_of_a_player_without_a_description_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute:
        """A player."""

        def __init__(self, strength: float = 1.0) -> None:
            self.strength = strength

    monkeypatch.setattr(plugins, "find", lambda _kind, _name: Mute)
    with pytest.raises(markdown.Undocumented, match="option strength"):
        players.page()


def test_every_hook_has_its_place_and_one_without_a_description_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = players.page()
    for hook in ("perturb(batch, view)", "relabel(batch, view)", "state_dict()", "load_state_dict(state)"):
        assert f"### {hook}\n" in page
    monkeypatch.setattr(Player.perturb, "__doc__", None)
    with pytest.raises(markdown.Undocumented, match="perturb"):
        players.page()


def test_a_field_of_a_resource_without_a_description_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def mute(registry: Registry) -> FastAPI:
        app = make_app(registry)
        del app.openapi()["components"]["schemas"]["Checkpoint"]["properties"]["file"]["description"]
        return app

    monkeypatch.setattr(rest, "make_app", mute)
    with pytest.raises(markdown.Undocumented, match=r"Checkpoint\.file"):
        rest.page()


def test_the_table_of_malformed_batches_names_every_defect_as_the_benchmark_does() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    table = page.split("## Strangers\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| (.+) \| \d+: ", table, re.MULTILINE) == sorted(KINDS)
