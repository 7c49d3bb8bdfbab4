"""The end of a run: waiting for it, and the table of its result."""

import time

from midstream.protocol.messages.runs import Status
from midstream.tasks.words import WORDS
from midstream.web.client import Client
from midstream_provider.push import RunEndedError

_POLL = 0.2


def settled(client: Client, status: Status) -> Status:
    """Wait until a run without further batches has finished or asks for batches again; return its status.

    Raises:
        RunEndedError: the run was stopped, or failed.
    """
    while True:
        status = client.run(status.name)
        if status.state == "finished" or status.step < status.total_steps:
            return status
        if status.state in ("stopped", "failed"):
            raise RunEndedError(f"run {status.name!r} {status.state}: {status.reason}")
        time.sleep(_POLL)


def result_table(status: Status) -> str:
    """Return the result of a finished run: a line of headings and a line of values.

    >>> from midstream.protocol.messages.runs import EXAMPLE_STATUS
    >>> print(result_table(Status.model_validate({**EXAMPLE_STATUS, "conversion_rate": None})))
    run       data set  defender  steps  test accuracy  validation loss  evasion rate
    digits-1  digits    none      12     0.4100         2.1000           0.4200
    """
    cells = {
        "run": status.name,
        "data set": status.specification.dataset,
        "defender": status.specification.defender,
        "steps": str(status.step),
    }
    measured = {
        "test accuracy": status.test_accuracy,
        **{
            f"test {WORDS[name.removeprefix('test_')]}": value
            for name, value in (status.measures or {}).items()
            if name.startswith("test_")
        },
        "validation loss": status.validation_loss,
        "conversion rate": status.conversion_rate,
        "evasion rate": status.evasion_rate,
    }
    cells |= {heading: f"{value:.4f}" for heading, value in measured.items() if value is not None}
    for side, count in status.passed_clean.by_side().items():
        if count:
            cells[f"failures of the {side}"] = str(count)
    for side, count in status.resumed_anyway.by_side().items():
        if count:
            cells[f"{side} resumed without its memory"] = str(count)
    widths = [max(len(heading), len(cell)) for heading, cell in cells.items()]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (cells.keys(), cells.values())
    ]
    return "\n".join(lines)
