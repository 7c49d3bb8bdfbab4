"""The Python of README.md and docs/ runs as it stands, the blocks of a page in one namespace, top to bottom.

A block that cannot, says why in a comment before it: `<!-- not run: needs … -->`.
"""

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"(?:<!-- not run: (.*?) -->\s*)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Return line, reason not to run and text of each block."""
    text = page.read_text(encoding="utf-8")
    return [(text[: found.start(2)].count("\n"), found[1] or "", found[2]) for found in _BLOCK.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for line, reason, text in blocks(page):
        if reason:
            continue
        # Blank lines before it, so that an error tells the page's line.
        exec(compile("\n" * line + text, str(page), "exec"), namespace)


def test_few_blocks_are_not_run() -> None:
    reasons = [
        f"{page.name}:{line}: {reason}" for page in PAGES for line, reason, _ in blocks(page) if reason
    ]
    assert len(reasons) <= 3, reasons


def test_a_reason_is_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: needs a GPU -->\n```python\n1\n```\n\n```python\n2\n```\n")
    assert blocks(page) == [(2, "needs a GPU", "1\n"), (6, "", "2\n")]
