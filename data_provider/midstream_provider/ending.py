"""The end of a run: waiting for it, and the table of its result."""

import time
from typing import Any

from midstream.web.client import Client
from midstream_provider.push import RunEndedError

_POLL = 0.2


def settled(client: Client, status: dict[str, Any]) -> dict[str, Any]:
    """Wait until a run without further batches has finished or asks for batches again; return its status.

    Raises:
        RunEndedError: the run was stopped, or failed.
    """
    while True:
        status = client.run(status["name"])
        if status["state"] == "finished" or status["step"] < status["total_steps"]:
            return status
        if status["state"] in ("stopped", "failed"):
            raise RunEndedError(f"run {status['name']!r} {status['state']}: {status['reason']}")
        time.sleep(_POLL)


def result_table(status: dict[str, Any]) -> str:
    """Return the result of a finished run: a line of headings and a line of values.

    >>> print(result_table({"name": "game", "specification": {"dataset": "digits", "defender": "none"},
    ...     "step": 600, "test_accuracy": 0.98, "validation_loss": 0.07, "conversion_rate": None,
    ...     "evasion_rate": None, "passed_clean": {"attacker": 0, "defender": 0},
    ...     "resumed_anyway": {"attacker": 0}}))
    run   data set  defender  steps  test accuracy  validation loss
    game  digits    none      600    0.9800         0.0700
    """
    known = status["specification"]
    cells = {
        "run": status["name"],
        "data set": known["dataset"],
        "defender": known["defender"],
        "steps": str(status["step"]),
    }
    for heading in ("test accuracy", "validation loss", "conversion rate", "evasion rate"):
        value = status[heading.replace(" ", "_")]
        if value is not None:
            cells[heading] = f"{value:.4f}"
    for side, count in status["passed_clean"].items():
        if count:
            cells[f"failures of the {side}"] = str(count)
    for side, count in status["resumed_anyway"].items():
        if count:
            cells[f"{side} resumed without its memory"] = str(count)
    widths = [max(len(heading), len(cell)) for heading, cell in cells.items()]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (cells.keys(), cells.values())
    ]
    return "\n".join(lines)
