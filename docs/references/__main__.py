"""Write the reference pages."""

from pathlib import Path

from docs.references import PAGES

for name, page in PAGES.items():
    (Path(__file__).parent.parent / name).write_text(page(), encoding="utf-8")
