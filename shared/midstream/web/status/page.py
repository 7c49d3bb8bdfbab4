"""The status page of a service, as HTML and as JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Receive, Scope, Send, send_problem

Facts = Mapping[str, str | float | None]

_FOLDER = Path(__file__).parent
_HEADERS = {
    # As for the dashboard: only this page's own files, no inline script or style, no embedding in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>midstream {service}</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="status.css">
  <script type="module" src="status.js"></script>
</head>
<body>
  <header><h1>midstream {service}</h1> <p id="connection" role="status"></p>
    <nav><a href="status.json">as JSON</a></nav></header>
  <main>
{main}
  </main>
</body>
</html>
"""


@dataclass(frozen=True)
class RunStatus:
    """The status of one run in a service.

    Attributes:
        run: the run's name.
        doing: a sentence that says what the service does for the run now, or waits for.
        step: number of batches done.
        total_steps: number of batches in total; None if unknown.
        facts: further values by name: numbers, text, or None if not known yet.
        problem: the last error, as a sentence; None once the service has recovered.
    """

    run: str
    doing: str
    step: int
    total_steps: int | None = None
    facts: Facts = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Status:
    """The status of a service.

    Attributes:
        service: kind of service: `attacker proxy` or `data provider`.
        doing: a sentence that says what the service does now, or waits for.
        facts: its settings and counters.
        runs: the runs that it works on.
        problem: the last error that concerns no run, as a sentence; None once the service has recovered.
    """

    service: str
    doing: str
    facts: Facts = field(default_factory=dict)
    runs: Sequence[RunStatus] = ()
    problem: str | None = None


def status_page(read: Callable[[], Status]) -> App:
    """Return the application that serves a status: `/`, `/status.json`, and the page's files.

    Args:
        read: returns the current status; called from another thread than the service's own.
    """

    def body(path: str) -> tuple[str, bytes] | None:
        if path == "/":
            return "text/html", to_html(read()).encode()
        if path == "/status.json":
            return "application/json", json.dumps(asdict(read())).encode()
        if path == "/status.css":
            return "text/css", (_FOLDER / "status.css").read_bytes()
        if path == "/status.js":
            return "text/javascript", (_FOLDER / "status.js").read_bytes()
        return None

    async def application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        if scope["type"] != "http":
            return
        if scope["method"] != "GET":
            what = f"{scope['method']} is not allowed: this page is read-only"
            await send_problem(send, Problem(405, "The page is read-only", what), {"Allow": "GET"})
        elif (found := body(scope["path"])) is None:
            what = f"there is no {scope['path']}; the status is at / and at /status.json"
            await send_problem(send, Problem(404, "No such page", what))
        else:
            kind, content = found
            fields = {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Length": str(len(content)),
                **_HEADERS,
            }
            raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            await send({"type": "http.response.body", "body": content})

    return application


def to_html(status: Status) -> str:
    """Return the page as HTML.

    >>> page = to_html(Status("data provider", "waiting for <a run>", {"seconds_a_batch": 0.03125}))
    >>> "waiting for &lt;a run&gt;" in page
    True
    >>> "<dt>seconds a batch</dt><dd>0.0312</dd>" in page
    True
    """
    parts = [f'<p class="doing">{escape(status.doing)}</p>{_problem(status.problem)}', _list(status.facts)]
    for run in status.runs:
        of, most = (f" of {run.total_steps}", run.total_steps) if run.total_steps else ("", None)
        name, step = escape(run.run), f"{run.step} batches done{of}"
        bar = f'<progress max="{most}" value="{run.step}" aria-label="{step}"></progress>' if most else ""
        parts += [
            f'<section class="card" aria-label="run {name}" data-run="{name}">\n<h2>{name}</h2>',
            f'<p class="doing">{escape(run.doing)}</p>{_problem(run.problem)}{bar}<p>{step}</p>',
            f"{_list(run.facts)}\n</section>",
        ]
    return _PAGE.format(service=escape(status.service), main="\n".join(parts))


def _problem(problem: str | None) -> str:
    return f'<p class="problem">{escape(problem)}</p>' if problem else ""


def _list(facts: Facts) -> str:
    rows = (
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_text(value))}</dd></div>"
        for name, value in facts.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _text(value: str | float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
