"""`midstream report`: one or several runs as a page that needs no server, no scripts and no other file."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from midstream.command.runs.measured import flat, judged, words
from midstream.console.service_options import reading_options, token_of

if TYPE_CHECKING:
    from midstream.command.runs.played import PlayedRun

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; color: #1c2430; background: #f6f7f9; margin: 0 auto;
  padding: 1rem; max-width: 70rem; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; background: #fff; }
th, td { border: 1px solid #dde2e9; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
figure { margin: 1rem 0; }
img { max-width: 100%; background: #fff; }
figcaption, .note { color: #586374; font-size: 0.9rem; max-width: 60rem; }
.wide { overflow-x: auto; }
.examples { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.examples img { image-rendering: pixelated; width: 12rem; }
"""

_SIDES = """A minibatch goes from the data provider through the attacker to the server. The attacker adds a
small perturbation to each example, x′ = x + δ. The server's defender adds a correction, x″ = x′ + σ. The
model is trained on x″. Neither changes a label."""

_CURVES = """ is what the attack wants to lower and the defence to keep. Both sides reason about
the validation loss. The last curve is the distance by which the defender moved an example, on average."""

_PICTURES = """Each row is one example: as it arrived at the server (x′), the defender's correction (σ, grey
if there is none), and as the model was trained on it (x″). x″ may look worse than x′. The defender does not
restore the image; it makes the training step lower the loss on validation data."""


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.",
)
@reading_options
def command(runs: tuple[str, ...], out: Path, token_file: Path | None, ca: Path | None) -> None:
    """Write runs as one HTML file: who played, the results, the learning curves and pictures.

    Each RUN is a run folder (the run may be unfinished) or the URL of a run on a server. The file needs no
    other file, and no script runs in it. Pictures come from run folders only.

    \b
    Example: midstream report runs/demo/clean runs/demo/attacked runs/demo/defended
    """
    from midstream.command.runs.played import read_runs

    if len(set(runs)) < len(runs):
        raise click.UsageError("the same run is given twice")
    out.write_text(report(read_runs(runs, token=token_of(token_file), ca=ca)), encoding="utf-8")
    click.echo(f"report: {out}")


def report(runs: Mapping[str, "PlayedRun"]) -> str:
    """Return the page.

    Args:
        runs: each run by its label.
    """
    measured = words(judged(record for run in runs.values() for record in run.evaluated))
    title = measured[:1].upper() + measured[1:]
    parts = [
        f"<h1>midstream: {escape(', '.join(runs))}</h1>",
        f"<p class=note>{_SIDES}</p>",
        "<h2>Who played, and the result</h2>",
        _table([[*_OUTCOME, measured, "validation loss"], *(_outcome(*one) for one in runs.items())]),
        "<h2>Over the steps</h2>",
        _figure(
            _curves(runs), f"{title}, validation loss and the defender's correction", f"{title}{_CURVES}"
        ),
        *_pictures(runs),
        "<h2>Settings</h2>",
        _table([["setting", *runs], *_settings(runs)]),
    ]
    head = f"<meta charset=utf-8><title>midstream: {escape(', '.join(runs))}</title><style>{_STYLE}</style>"
    viewport = "<meta name=viewport content='width=device-width, initial-scale=1'>"
    return f"<!doctype html><html lang=en><head>{head}{viewport}</head><body>{''.join(parts)}</body></html>\n"


_OUTCOME = ["run", "attacker", "defender", "ε", "state", "steps"]


def _outcome(label: str, run: "PlayedRun") -> list[str]:
    attacker = "not recorded" if run.scenario is None else str(run.scenario["attacker"])
    last = run.evaluated[-1] if run.evaluated else None
    final = run.result or last or {}
    numbers = [flat(final).get(name) for name in (judged(run.evaluated), "validation_loss")]
    return [
        label,
        attacker,
        str(run.specification["defender"]),
        f"{run.specification['epsilon']:g} {run.specification['norm']}",
        run.state,
        str(len(run.records)),
        *("" if number is None else f"{number:.3f}" for number in numbers),
    ]


def _curves(runs: Mapping[str, "PlayedRun"]) -> bytes:
    from midstream.command.runs.curves import draw_runs

    with TemporaryDirectory() as folder:
        picture = Path(folder) / "curves.png"
        draw_runs(picture, {label: run.records for label, run in runs.items()})
        return picture.read_bytes()


def _pictures(runs: Mapping[str, "PlayedRun"]) -> Iterator[str]:
    found = {label: _newest_sample(run) for label, run in runs.items()}
    shown = {label: picture for label, picture in found.items() if picture is not None}
    if not shown:
        return
    yield f"<h2>What a semantic checker would see</h2><p class=note>{_PICTURES}</p><div class=examples>"
    for label, picture in shown.items():
        name = f"{label}, batch {int(picture.stem)}"
        yield _figure(picture.read_bytes(), f"Examples of {name}", name)
    yield "</div>"


def _newest_sample(run: "PlayedRun") -> Path | None:
    if run.folder is None:
        return None
    found = (run.folder / "samples").glob("*.png")
    return max((path for path in found if path.stem.isdecimal()), default=None)


def _settings(runs: Mapping[str, "PlayedRun"]) -> Iterator[list[str]]:
    told = [
        dict(run.specification)
        | ({} if run.scenario is None else {name: run.scenario.get(name) for name in ("attacker", "threads")})
        | {f"environment: {name}": value for name, value in (run.environment or {}).items()}
        for run in runs.values()
    ]
    for name in dict.fromkeys(name for settings in told for name in settings):
        yield [name.replace("_", " "), *(_words(settings.get(name)) for settings in told)]


def _words(value: object) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return "" if value is None else str(value)


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = "".join(
        f"<tr><th scope=row>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in body
    )
    heads = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    return f"<div class=wide><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"


def _figure(png: bytes, alternative: str, caption: str) -> str:
    data = b64encode(png).decode()
    image = f"<img src='data:image/png;base64,{data}' alt='{escape(alternative)}'>"
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
