"""The documentation site: `make docs`."""

project = "midstream"
author = "the midstream authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "midstream"
exclude_patterns = ["_site", "references"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
