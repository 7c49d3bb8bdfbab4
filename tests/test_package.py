"""What hatch adds to a package: a README whose links work elsewhere, addresses, and the examples."""

import importlib.util
import re
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from midstream.command.examples import FOLDERS, example_files

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)]+)\)")
ADDRESS = "https://host.example/owner/midstream"


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    pytest.importorskip("hatchling", reason="hatchling builds the package; it is in the extra dev")
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_link_becomes_absolute(hatch_build: ModuleType) -> None:
    links = LINK.findall(hatch_build.description(README, ADDRESS))
    assert f"{ADDRESS}/blob/main/docs/tutorial.md" in links
    assert f"{ADDRESS}/raw/main/docs/dashboard.png" in links
    assert [link for link in links if not link.startswith("https://")] == []


def test_without_an_address_no_link_is_dead(hatch_build: ModuleType) -> None:
    text = hatch_build.description(README, None)
    assert [link for link in LINK.findall(text) if not link.startswith("https://")] == []
    assert "the tutorial" in text


def test_only_known_addresses_are_published(hatch_build: ModuleType) -> None:
    assert list(hatch_build.addresses(None)) == ["Paper"]
    assert hatch_build.addresses(ADDRESS)["Issues"] == f"{ADDRESS}/issues"


def test_the_wheel_holds_what_the_command_copies(hatch_build: ModuleType, tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    assert hatch_build.SHIPPED == FOLDERS
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for path, content in example_files().items():
        assert held[f"midstream/shipped/{path.as_posix()}"] == content
    assert "midstream/command/explanations.md" in held
