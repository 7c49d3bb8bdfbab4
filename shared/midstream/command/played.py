"""A run that was played, or is being played, as its folder or its server tells it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from midstream.command.unaltered import refuse_altered
from midstream.console import options
from midstream.console.scenario import read_values
from midstream.console.service_options import ca_option, is_whole_url, token_option
from midstream.storage.run_files import RESULT, SPECIFICATION, DamagedRunError, read_object, read_records
from midstream.web.client import Client
from midstream.web.tls import trusting

_ADDRESS = re.compile(r"(https?://.+)/v1/runs/([^/]+)/?")
_GIVE_UP_AFTER = 1.0  # seconds


@dataclass(frozen=True)
class PlayedRun:
    """One run.

    Attributes:
        place: its folder or its address, as it was named.
        state: what its server says, or of a folder `finished` or `unfinished`.
        specification: everything that its result depends on.
        records: one a step, see `midstream_server.http.messages.Record`.
        result: how it ended; None where it did not yet.
        environment: versions, device and threads; None where its server does not tell.
        scenario: the options of `midstream play` that repeat it; None where `play` did not play it.
    """

    place: str
    state: str
    specification: dict[str, Any]
    records: list[dict[str, Any]]
    result: dict[str, Any] | None
    environment: dict[str, Any] | None
    scenario: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.specification["name"])

    @property
    def evaluated(self) -> list[dict[str, Any]]:
        """The records of steps after which the model was evaluated: its learning curve."""
        return [record for record in self.records if record["test_accuracy"] is not None]

    @property
    def folder(self) -> Path | None:
        """Its folder, where it was read from one."""
        return None if _ADDRESS.fullmatch(self.place) else Path(self.place)


reading_options = options.together(token_option, ca_option)
"""What a run on a server may need to be read."""


def read_run(place: str, *, token: str | None = None, ca: Path | None = None) -> PlayedRun:
    """Return what a run folder holds, or what a server tells of a run.

    Args:
        place: a run folder, or a run's address, such as `http://127.0.0.1:8000/v1/runs/NAME`.
        token: shown to the server.
        ca: the authority that a server is verified against.

    Raises:
        click.UsageError: there is no run.
        midstream.storage.run_files.DamagedRunError: a file of it cannot be read.
        ValueError: it is finished, and what its folder holds is no longer what it finished with.
        midstream.web.client.ServerGoneError: the server does not answer.
    """
    if (address := _ADDRESS.fullmatch(place)) and is_whole_url(address[1]):
        return _from_server(place, *address.groups(), token=token, ca=ca)
    if place.startswith(("http://", "https://")):
        raise click.UsageError(
            f"{place} is no run's address, such as http://127.0.0.1:8000/v1/runs/NAME; the server's page "
            f"lists its runs"
        )
    folder = Path(place)
    if not (folder / "specification.json").is_file():
        raise click.UsageError(_no_run(folder))
    result = read_object(folder / "result.json", RESULT) if (folder / "result.json").exists() else None
    environment = folder / "environment.json"
    played = PlayedRun(
        place=place,
        state="unfinished" if result is None else "finished",
        specification=read_object(folder / "specification.json", SPECIFICATION),
        records=read_records(folder / "metrics.jsonl"),
        result=result,
        environment=read_object(environment) if environment.exists() else None,
        scenario=_scenario(folder / "scenario.yaml"),
    )
    refuse_altered(folder, result)
    return played


def read_runs(places: Sequence[str], *, token: str | None, ca: Path | None) -> dict[str, PlayedRun]:
    """Return several runs by a label each: their names, or their places where names are equal."""
    runs = [read_run(place, token=token, ca=ca) for place in places]
    names = [run.name for run in runs]
    return {run.name if names.count(run.name) == 1 else run.place: run for run in runs}


def _from_server(place: str, server: str, name: str, *, token: str | None, ca: Path | None) -> PlayedRun:
    client = Client(server, give_up_after=_GIVE_UP_AFTER, token=token, verify=trusting(ca))
    try:
        status, records = client.run(name), client.metrics(name)
    finally:
        client.close()
    specification = status["specification"]
    return PlayedRun(place, status["state"], specification, records, status["result"], None, None)


def _scenario(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    values = read_values(path)
    kinds = {"attacker": (str,), "attack-epsilon": (int, float), "attack-norm": (str,)}
    for name, kind in kinds.items():
        if not isinstance(values.get(name), kind):
            raise DamagedRunError(f"{path} is damaged: {name!r} is {values.get(name)!r:.80}")
    return values


def _no_run(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} is no folder; name a run folder, or a run's address on a server"
    below = sorted(str(path.parent) for path in folder.glob("*/specification.json"))
    hint = f"; below it are the run folders {', '.join(below)}" if below else ""
    return f"{folder} is no run folder: it holds no specification.json{hint}"
