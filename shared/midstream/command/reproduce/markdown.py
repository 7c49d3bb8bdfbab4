"""The text of a reproduction: a Markdown table for each panel, ours beside the paper's."""

from collections.abc import Mapping, Sequence

from midstream.command.reproduce.comparison import Compared
from midstream.command.reproduce.document import DataSet, Panel, Reproduction, Scale
from midstream.command.reproduce.gains import gains
from midstream.command.results.spread import Spread
from midstream.command.results.table_text import aligned

NOTHING = "–"
_VERDICTS = {True: "yes", False: "no", None: NOTHING}


NAMES = {
    "digits": "digits",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "photos": "photos",
}


def page_of(reproduction: Reproduction, scale: Scale, dataset: DataSet, found: Sequence[Compared]) -> str:
    """Return a table or figure with its title, what the paper says, what is missing, and what ships."""
    head = f"{reproduction.source}, {NAMES[dataset]}, scale {scale}: {reproduction.title}, in per cent."
    says = "\n".join(f"- {line}" for line in reproduction.says)
    short = (
        "Quick games are too short to attack anything; these figures show only that the table can be played."
    )
    parts = [head, text_of(reproduction, dataset, found), says, missing_words(found), shipped_words(found)]
    parts += [short] * (scale == "quick")
    return "\n\n".join(part for part in parts if part)


def text_of(reproduction: Reproduction, dataset: DataSet, found: Sequence[Compared]) -> str:
    """Return all panels of a table or figure as Markdown, in per cent.

    Args:
        reproduction: the table or figure.
        dataset: the data set.
        found: its cells.
    """
    blocks = []
    for panel in reproduction.panels:
        own = [one for one in found if one.cell.panel is panel]
        if own:
            blocks += [f"({panel.name})"] * bool(panel.name) + [_table(panel, dataset, own)]
            if panel.kind == "grid" and gains(own):
                blocks.append(_gains(own))
    return "\n\n".join(blocks)


def missing_words(found: Sequence[Compared]) -> str:
    """Return which games are missing, in a sentence; empty if none is."""
    games = {asked.name for one in found for asked in one.cell.asked}
    missing = {asked.name for one in found for asked in one.missing}
    if not missing:
        return ""
    cells = [f"{one.cell} (seed {_seeds(one)})" for one in found if one.missing]
    shown = cells if len(cells) <= 8 else [*cells[:8], f"{len(cells) - 8} more"]
    return f"{len(missing)} of {len(games)} games are missing: {'; '.join(shown)}."


def shipped_words(found: Sequence[Compared]) -> str:
    """Return which games were not played here, and where they were, in a sentence; empty if there is none."""
    games = {game.name: game for one in found for game in one.games}
    shipped = [game for game in games.values() if game.shipped]
    if not shipped:
        return ""
    places = dict.fromkeys(_place(game.environment) for game in shipped)
    return (
        f"{len(shipped)} of {len(games)} games were not played here; they ship with midstream, from "
        f"{'; '.join(places)}. Other versions, devices and CPUs round differently. --fresh plays them here."
    )


def _place(environment: Mapping[str, object]) -> str:
    versions = [f"{name} {environment.get(name)}" for name in ("midstream", "torch")]
    machine = [f"{name.replace('_', ' ')} {environment.get(name)}" for name in ("device", "threads")]
    return ", ".join([*versions, *machine])


def percent(found: Spread | None) -> str:
    """Return a spread in per cent as text.

    >>> percent(Spread(95.34, 0.51, 3)), percent(Spread(95.34, None, 1)), percent(None)
    ('95.3 ± 0.5', '95.3', '–')
    """
    if found is None:
        return NOTHING
    return f"{found.mean:.1f}" + ("" if found.deviation is None else f" ± {found.deviation:.1f}")


def _seeds(one: Compared) -> str:
    return ", ".join(str(asked.seed) for asked in one.missing)


def _table(panel: Panel, dataset: DataSet, found: Sequence[Compared]) -> str:
    columns = [name for name in panel.columns if any(one.cell.column == name for one in found)]
    rows = [name for name in panel.rows if any(one.cell.row == name for one in found)]
    beside = dataset in panel.paper
    head = [panel.over.replace("-", " ")]
    for column in columns:
        title = panel.columns[column].title or column
        head += [f"{title}: paper", "here", "n", "within 2 deviations"] if beside else [title, "n"]
    by_place = {(one.cell.row, one.cell.column): one for one in found}
    lines = []
    for row in rows:
        here = [by_place.get((row, column)) for column in columns]
        lines.append([_title(panel, row, here), *(text for one in here for text in _texts(one, beside))])
    return aligned(head, lines)


def _title(panel: Panel, row: str, cells: Sequence[Compared | None]) -> str:
    first = next(one for one in cells if one is not None)
    return f"{first.cell.at:g}" if isinstance(first.cell.at, int | float) else panel.rows[row].title or row


def _texts(one: Compared | None, beside: bool) -> list[str]:
    if one is None:
        return [""] * (4 if beside else 2)
    found, whole = one.spread, len(one.cell.asked)
    count = 0 if found is None else found.n
    here = [percent(found), str(count) if count == whole else f"{count} of {whole}"]
    if not beside:
        return here
    paper = NOTHING if one.cell.stated is None else str(one.cell.stated)
    return [paper, *here, _VERDICTS[one.within]]


def _gains(found: Sequence[Compared]) -> str:
    head = ["side", "level", "gain over level 0, in points", "additional time per minibatch"]
    lines = [[g.side, g.level, f"{g.gain:.1f}", f"{1000 * g.seconds:.1f} ms"] for g in gains(found)]
    return aligned(head, lines)
