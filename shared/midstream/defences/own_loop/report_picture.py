"""A report of `Defender` as HTML without scripts: a table, and the distances as an inline SVG."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BELOW = 320, 120, 40, 18


def as_html(title: str, rows: Mapping[str, str], moved: Sequence[float], epsilon: float) -> str:
    """Return a report as HTML.

    Args:
        title: the heading.
        rows: the rows of the table.
        moved: the mean distance of each call.
        epsilon: the greatest possible distance, drawn as a dashed line.
    """
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    picture = _svg(moved, epsilon) if len(moved) > 1 else ""
    return f"<p>{escape(title)}</p><table>{cells}</table>{picture}"


def _svg(moved: Sequence[float], epsilon: float) -> str:
    bottom, right = _HEIGHT - _BELOW, _WIDTH - 4
    top = max(epsilon, *moved) or 1.0

    def height(value: float) -> float:
        return bottom - value / top * (bottom - 10)

    across = (right - _LEFT) / (len(moved) - 1)
    line = " ".join(f"{_LEFT + i * across:.1f},{height(value):.1f}" for i, value in enumerate(moved))
    text = "font-size='10' fill='currentColor'"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' role='img' "
        f"aria-label='mean distance of each call, {moved[-1]:.3g} in the last one'>"
        f"<path d='M{_LEFT},4 V{bottom} H{right}' fill='none' stroke='currentColor' opacity='0.4'/>"
        f"<path d='M{_LEFT},{height(epsilon):.1f} H{right}' stroke='currentColor' stroke-dasharray='3'/>"
        f"<polyline points='{line}' fill='none' stroke='#1f77b4' stroke-width='1.5'/>"
        f"<text x='2' y='{height(epsilon) + 3:.1f}' {text}>{epsilon:g}</text>"
        f"<text x='28' y='{bottom}' {text}>0</text>"
        f"<text x='{_LEFT}' y='{_HEIGHT - 5}' {text}>mean distance, last {len(moved)} calls</text></svg>"
    )
