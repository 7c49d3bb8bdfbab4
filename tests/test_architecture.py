"""ARCHITECTURE.md and CONTRIBUTING.md name folders, layers, files and functions; all of them exist."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGES = {
    "midstream": "shared",
    "midstream_server": "server",
    "midstream_proxy": "attacker_proxy",
    "midstream_provider": "data_provider",
}
NAMED = sorted(set(re.findall(r"`(\w+(?:/\w+)*\.py):([\w.]+)`", PAGE)))
WALKS = [
    "A minibatch over HTTP",
    "A minibatch in one process",
    "`--epsilon`, from the command line to the strategy",
]


def defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return what a module or a class defines, by name."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_walks_name_exists(path: str, name: str) -> None:
    file = ROOT / PACKAGES[path.partition("/")[0]] / path
    assert file.is_file(), f"ARCHITECTURE.md names {path}, which does not exist"
    body = ast.parse(file.read_text()).body
    for part in name.split("."):
        node = defined(body).get(part)
        assert node is not None, f"ARCHITECTURE.md names {name} in {path}, which does not define {part}"
        body = node.body if isinstance(node, ast.ClassDef) else []


@pytest.mark.parametrize("walk", WALKS)
def test_each_walk_names_functions(walk: str) -> None:
    section = PAGE.split(f"## {walk}\n")[1].split("\n## ")[0]
    assert len(re.findall(r"`\w+(?:/\w+)*\.py:[\w.]+`", section)) >= 5


def test_the_modules_beside_the_folders_import_no_folder() -> None:
    for path in sorted((ROOT / "shared/midstream").glob("*.py")):
        if path.name != "__init__.py":
            imports = ast.walk(ast.parse(path.read_text()))
            names = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
            assert not [name for name in names if name and name.startswith("midstream.")], path


def test_the_layers_are_those_of_the_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    block = PAGE.split("## Layers\n")[1].split("```")[1]
    assert block.strip().splitlines() == layers


def test_each_folder_has_its_row() -> None:
    library = {f"{folder.parent.name}/" for folder in (ROOT / "shared" / "midstream").glob("*/__init__.py")}
    table = PAGE.split("In `shared/midstream/`:\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == library


def test_the_style_examples_are_taken_from_the_code() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    examples = re.findall(r"From\s`([^`]+)`:\n\n```python\n(.+?)```", page, re.DOTALL)
    assert len(examples) == 3
    for file, example in examples:
        assert example in (ROOT / file).read_text(), f"{file} no longer holds CONTRIBUTING.md's example"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
