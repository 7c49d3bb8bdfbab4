"""docs/results.md: every table and figure of the paper, as far as the results that ship with midstream go."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docs.references.markdown import WRITTEN, code, table
from midstream.command.reproduce.cells import cells_of
from midstream.command.reproduce.comparison import Compared, compared
from midstream.command.reproduce.document import DataSet, Reproduction, Scale, reproduction
from midstream.command.reproduce.games import Game
from midstream.command.reproduce.markdown import NAMES, text_of
from midstream.command.reproduce.names import names
from midstream.command.reproduce.scales import scales_of, seeds_of
from midstream.command.reproduce.shipped import shipments, shipped_games

_HEAD = """# Results

This page shows every table and figure of the paper that is a grid of games: our figures beside the paper's,
in per cent. The games ship with midstream. `midstream reproduce TABLE` prints them at once and plays what is
missing; with `--fresh` it plays all of them again. For each data set, the page shows the largest scale of
which a game was played:

- `paper`: the paper's own size, five seeds;
- `cpu`: sized for two CPU cores, three seeds. On MNIST, all of Table 2 costs about an hour of one core. A
  game has 800 images, 100 more for validation, minibatches of 50 and 30 epochs: 480 steps; the paper has
  13,200. ε and the optimizer are the paper's, and there are 8 training images for each one for validation,
  in the paper 11. In 30 epochs, level 1 with momentum reaches at most 79 % of its budget. CW, DC and
  EvoShift have smaller constants than in the paper, as the table's file says;
- `quick`: at most 40 steps and one seed. Such games show that a table can be played; their figures mean
  nothing.

n is the number of seeds. "Within 2 deviations" compares the means. The deviation is the paper's standard
deviation, or ours if the paper gives none. Games that are smaller than the paper's are not expected to agree
with it.

The games were played while midstream changed, and the version number does not tell these states apart. A
replay may therefore end in other bits; after hundreds of attacked steps, the first decimal may differ.

"""


def page() -> str:
    """Return the page."""
    games = shipped_games()
    parts = [WRITTEN, _HEAD, *(f"{block}\n\n" for name in names() for block in _blocks(name, games))]
    return "".join(parts) + _files()


def _blocks(name: str, games: dict[str, Game]) -> Iterator[str]:
    shown = reproduction(name)
    yield f"## {shown.source}: {shown.title}"
    yield "\n".join(f"- {line}" for line in shown.says) or f"`midstream reproduce {name}` plays it."
    played = {game.dataset for game in games.values()}
    found = [
        block
        for dataset in shown.datasets
        if dataset in played and (block := _largest(name, shown, dataset, games)) is not None
    ]
    yield from found or ["Not played yet."]


def _largest(name: str, shown: Reproduction, dataset: DataSet, games: dict[str, Game]) -> str | None:
    for scale in scales_of(dataset):
        found = compared(cells_of(shown, scale, dataset, seeds=seeds_of(scale)), games)
        if any(one.spread for one in found):
            return _block(name, shown, scale, dataset, found)
    return None


def _block(name: str, shown: Reproduction, scale: Scale, dataset: DataSet, found: list[Compared]) -> str:
    command = f"    midstream reproduce {name} --scale {scale} --dataset {dataset}"
    parts = [f"### {NAMES[dataset]}, scale {scale}", command, text_of(shown, dataset, found)]
    whole = {asked.name for one in found for asked in one.cell.asked}
    missing = {asked.name for one in found for asked in one.missing}
    return "\n\n".join([*parts, *[f"{len(missing)} of {len(whole)} games are missing."] * bool(missing)])


def _distinct(environments: Sequence[Mapping[str, Any]], key: str) -> str:
    return ", ".join(sorted({str(environment[key]) for environment in environments}))


def _files() -> str:
    head = ["file", "command", "games", "seconds", "midstream", "torch", "device", "threads"]
    rows = []
    for name, shipment in shipments().items():
        seen = {
            key: _distinct(shipment.environments, key) for key in ("midstream", "torch", "device", "threads")
        }
        seconds = sum(game.values["seconds"] for game in shipment.games)
        rows.append(
            [code(name), code(shipment.command), str(len(shipment.games)), f"{seconds:.0f}", *seen.values()]
        )
    where = (
        "The files are in `shared/midstream/command/reproduce/results/`; each is sealed by a digest.\n"
        "`midstream reproduce TABLE --save FILE` writes such a file, and `make references` this page.\n\n"
    )
    return "## The files\n\n" + where + table(head, rows) + "\n"
