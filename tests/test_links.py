"""No link between the project's pages is broken: neither to a file nor to a heading in it."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"))
    if "_build" not in page.parts
)

_FENCE = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`+[^`\n]*`+")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)*)>?[^()]*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
_ANCHOR = re.compile(r"^\(([\w-]+)\)=\s*$|<a (?:id|name)=\"([\w-]+)\"", re.MULTILINE)


def links(text: str) -> list[str]:
    """Return the targets of a page's links and pictures that name no other site."""
    prose = _CODE.sub(lambda code: "x" * len(code[0]), _FENCE.sub("", text))
    targets = [match[1] for match in _LINK.finditer(prose)]
    return [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|$", target)]


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site's renderer make it."""
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.replace("`", "").lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = {one or other for one, other in _ANCHOR.findall(text)}
    for heading in _HEADING.findall(text):
        name, number = slug(heading), 0
        while (numbered := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(numbered)
    return frozenset(found)


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere."""
    for target in links(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / unquote(path)).resolve() if path else page
        if not file.exists():
            yield f"{target}: there is no such file"
        elif anchor and file.suffix == ".md" and unquote(anchor) not in anchors(file):
            yield f"{target}: {file.name} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_of_a_page_is_broken(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `heading`\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#one-heading) [b](other.md#twice-1) [c](https://example.org/x) `[d](code.md)`\n\n"
        "```\n[e](fenced.md)\n```\n\n# Here\n\n"
        "[f](#here) ![g](missing.png) [h](other.md#none) [i](#nowhere)\n"
    )
    assert list(broken(page)) == [
        "missing.png: there is no such file",
        "other.md#none: other.md has no such heading",
        "#nowhere: page.md has no such heading",
    ]
