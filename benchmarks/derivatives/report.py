"""What the sweep found: a line for each case on the terminal, and the tables of two pages."""

from pathlib import Path

import torch

from benchmarks.derivatives.architectures import skipped
from benchmarks.derivatives.lazily import torchvision
from benchmarks.derivatives.sweep import Outcome, summary

DOCS = Path(__file__).parent.parent.parent / "docs"
HEADING = "## Models and layers tried"


def line(outcome: Outcome) -> str:
    """Return what became of one case."""
    name = f"{outcome.case.name:<46.46} {outcome.seconds:5.1f} s  "
    if outcome.verdict == "right":
        errors = " ".join(f"{error:.0e}" for error in outcome.errors)
        single = "" if outcome.single is None else f"  single {outcome.single:.0e}"
        found = f"right    {errors}{single}  {outcome.order}"
    else:
        found = f"{outcome.verdict:<8} {outcome.text}"
    surprise = "" if outcome.expected or outcome.verdict == "failed" else "  NOT AS THE TABLE SAYS"
    return name + found + surprise


def write_pages(operations: dict[str, list[Outcome]], architectures: list[Outcome]) -> None:
    """Write the operations' page, and in the page on models what stands under its heading."""
    layers = [o for found in operations.values() for o in found if o.case.group == "layer"]
    page = DOCS / "own-model.md"
    before = page.read_text(encoding="utf-8").split(HEADING)[0]
    page.write_text(before + _models(architectures, layers), encoding="utf-8")
    (DOCS / "operations.md").write_text(_operations(operations), encoding="utf-8")


def rows(page: str) -> list[str]:
    """Return the rows of a page's tables, without their headings."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.endswith("| outcome | order |")]


def _models(architectures: list[Outcome], layers: list[Outcome]) -> str:
    left_out = f" {skipped()}." if skipped() else ""
    return f"""{HEADING}

    python -m benchmarks.derivatives

takes `v`, `B_x u` and `H u` of each model as a user would, in double and in single precision, and holds them
against differences of first-order gradients, which use nothing of midstream and no second-order rule of
torch. Each is right, or refused with a sentence; the command ends with 1 otherwise. [More
operations](operations.md) are tried in the same way.

{_versions()} {summary([*architectures, *layers])}.{left_out}

{_table(architectures, "model")}

{_table(layers, "layer")}
"""


def _operations(operations: dict[str, list[Outcome]]) -> str:
    every = [o for found in operations.values() for o in found]
    parts = "\n\n".join(f"## {title}\n\n{_table(found, 'operation')}" for title, found in operations.items())
    return f"""# Operations tried

Written by `python -m benchmarks.derivatives --pages`. [A model of your
own](own-model.md#models-and-layers-tried) says how each is judged, and lists whole models. Each operation
stands between two trainable layers, so that `B_x u` and `H u` go through it.

{_versions()} {len(every)} operations: {summary(every)}.

{parts}
"""


def _versions() -> str:
    torch_, torchvision_ = (package.__version__.split("+")[0] for package in (torch, torchvision))
    return f"Tried with torch {torch_} and torchvision {torchvision_}."


def _table(outcomes: list[Outcome], what: str) -> str:
    table = [f"| {what} | outcome | order |", "|---|---|---|"]
    for o in outcomes:
        found = o.verdict if o.verdict == "right" else f"{o.verdict}: {_cell(o.text)}"
        table.append(f"| {_cell(o.case.name)} | {found} | {o.order} |")
    return "\n".join(table)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
