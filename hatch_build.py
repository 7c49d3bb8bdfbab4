"""What hatch adds when it builds a package: a description for the index page, links, and the examples.

The address of the repository is not written down here, so that a fork links to itself. `MIDSTREAM_REPOSITORY`
holds it, such as `https://host/owner/midstream`; CI sets it. Without it, the links of the README become plain
text.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

SHIPPED = ("examples", "scenarios", "experiments/grids")
"""Folders that `midstream examples` copies; in a wheel they are below `midstream/shipped`."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")


def description(readme: str, repository: str | None) -> str:
    """Return the README with links that work outside of the repository.

    Args:
        readme: Markdown with links relative to the repository's root.
        repository: its address; None turns links into plain text and leaves pictures out.
    """

    def elsewhere(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if repository is None:
            return "" if picture else text
        return f"{picture}[{text}]({repository}/{'raw' if picture else 'blob'}/main/{target})"

    return _LINK.sub(elsewhere, readme)


def addresses(repository: str | None) -> dict[str, str]:
    """Return the links of the index page."""
    paper = {"Paper": "https://doi.org/10.1016/j.artint.2022.103837"}
    if repository is None:
        return paper
    return {
        "Repository": repository,
        "Documentation": f"{repository}/blob/main/docs/index.md",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        **paper,
    }


class Metadata(MetadataHookInterface):
    """Fills in `readme` and `urls` of the project."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set both fields from the README and `MIDSTREAM_REPOSITORY`."""
        repository = os.environ.get("MIDSTREAM_REPOSITORY", "").rstrip("/") or None
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": description(readme, repository)}
        metadata["urls"] = addresses(repository)


class Build(BuildHookInterface[Any]):
    """Puts the examples into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Include each file of the shipped folders; an editable install reads them where they are."""
        if self.target_name != "wheel" or version == "editable":
            return
        for folder in SHIPPED:
            for file in sorted(Path(self.root, folder).rglob("*")):
                path = file.relative_to(self.root)
                if file.is_file() and not {"__pycache__", "memory", "node_modules"} & set(path.parts):
                    build_data["force_include"][str(file)] = f"midstream/shipped/{path.as_posix()}"
