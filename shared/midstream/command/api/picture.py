"""A game's result as HTML without scripts: a table, and the learning curve as an inline SVG."""

from collections.abc import Mapping
from html import escape
from typing import Any

from numpy.typing import NDArray

from midstream.tasks.words import HEADLINE, WORDS

_WIDTH, _HEIGHT, _LEFT, _BELOW = 320, 120, 40, 18

_SHOWN = {
    "dataset": "data set",
    "attacker": "attacker",
    "defender": "defender",
    "seed": "seed",
    "steps": "steps",
    **{f"test_{name}": f"test {words}" for name, words in WORDS.items()},
    "validation_loss": "validation loss",
    "conversion_rate": "conversion rate",
    "evasion_rate": "evasion rate",
    "seconds": "seconds",
    "run": "run folder",
}


def as_html(outcome: Mapping[str, object], curve: Mapping[str, NDArray[Any]]) -> str:
    """Return a result as HTML.

    Args:
        outcome: what `midstream play --json` prints.
        curve: the metrics at the evaluations: `step` and `test_accuracy`, or another headline.
    """
    rows = "".join(
        f"<tr><th style='text-align:left'>{label}</th><td style='text-align:left'>{_words(value)}</td></tr>"
        for name, label in _SHOWN.items()
        if (value := outcome.get(name)) is not None
    )
    table = f"<table>{rows}</table>"
    if not len(curve.get("step", ())):
        return table
    name = next(name for name in HEADLINE.values() if outcome.get(f"test_{name}") is not None)
    return table + _svg(curve["step"].tolist(), curve[f"test_{name}"].tolist(), f"test {WORDS[name]}")


def _words(value: object) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _svg(steps: list[float], values: list[float], what: str) -> str:
    """Draw values of which 1 is the best; one below 0, such as an R², is drawn at 0."""
    last = max(steps[-1], 1)
    points = [
        (_LEFT + step / last * (_WIDTH - _LEFT - 4), (1 - max(value, 0)) * (_HEIGHT - _BELOW - 4) + 4)
        for step, value in zip(steps, values, strict=True)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    bottom = _HEIGHT - _BELOW
    text = "font-size='10' fill='currentColor'"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' role='img' "
        f"aria-label='{what} over steps, {values[-1]:.3f} at the end'>"
        f"<path d='M{_LEFT},4 V{bottom} H{_WIDTH - 4}' fill='none' stroke='currentColor' opacity='0.4'/>"
        f"<polyline points='{line}' fill='none' stroke='#1f77b4' stroke-width='1.5'/>"
        f"<text x='2' y='12' {text}>100 %</text><text x='14' y='{bottom}' {text}>0 %</text>"
        f"<text x='{_LEFT}' y='{_HEIGHT - 5}' {text}>{what} over {steps[-1]:g} steps</text></svg>"
    )
