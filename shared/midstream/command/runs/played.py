"""Read a run, finished or in progress, from its folder or its server."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from midstream.command.runs.measured import flat
from midstream.command.runs.unaltered import refuse_altered
from midstream.console.scenario import read_values
from midstream.console.service_options import is_whole_url
from midstream.protocol.messages.message import members
from midstream.storage.run_files import SPECIFICATION, DamagedRunError, read_object, read_records, read_result
from midstream.web.client import Client
from midstream.web.tls import trusting

_ADDRESS = re.compile(r"(https?://.+)/v1/runs/([^/]+)/?")
_GIVE_UP_AFTER = 1.0  # seconds


@dataclass(frozen=True)
class PlayedRun:
    """One run.

    Attributes:
        place: its folder or URL, as given.
        state: the state that the server reports; `finished` or `unfinished` for a folder.
        specification: all settings that the result depends on.
        records: one per step, see `midstream.protocol.messages.history.Record`.
        result: the final result; None if the run is unfinished.
        environment: versions, device and threads; None if read from a server.
        scenario: the options of `midstream play` that repeat the run; None if `play` did not run it.
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
    def evaluated(self) -> list[dict[str, object]]:
        """The learning curve: records of the steps after which the model was evaluated, each `flat`."""
        return [flat(record) for record in self.records if record["test_loss"] is not None]

    @property
    def folder(self) -> Path | None:
        """The run folder, or None if the run was read from a server."""
        return None if _ADDRESS.fullmatch(self.place) else Path(self.place)


def read_run(place: str, *, token: str | None = None, ca: Path | None = None) -> PlayedRun:
    """Read a run from its folder or from a server.

    Args:
        place: a run folder, or a run's URL, such as `http://127.0.0.1:8000/v1/runs/NAME`.
        token: access token for the server.
        ca: certificate authority (PEM) that verifies the server.

    Raises:
        click.UsageError: there is no such run.
        midstream.storage.run_files.DamagedRunError: one of its files cannot be read, or was altered after
            the run finished.
        midstream.web.client.ServerGoneError: the server does not answer.
    """
    if (address := _ADDRESS.fullmatch(place)) and is_whole_url(address[1]):
        return _from_server(place, *address.groups(), token=token, ca=ca)
    if place.startswith(("http://", "https://")):
        raise click.UsageError(
            f"{place} is not the URL of a run, such as http://127.0.0.1:8000/v1/runs/NAME; the server's "
            f"dashboard lists its runs"
        )
    folder = Path(place)
    if not (folder / "specification.json").is_file():
        raise click.UsageError(_no_run(folder))
    result = read_result(folder / "result.json") if (folder / "result.json").exists() else None
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
    """Return several runs by label: the run's name, or its place if several runs share that name."""
    runs = [read_run(place, token=token, ca=ca) for place in places]
    names = [run.name for run in runs]
    return {run.name if names.count(run.name) == 1 else run.place: run for run in runs}


def _from_server(place: str, server: str, name: str, *, token: str | None, ca: Path | None) -> PlayedRun:
    client = Client(server, give_up_after=_GIVE_UP_AFTER, token=token, verify=trusting(ca))
    try:
        status, records = client.run(name), client.metrics(name)
    finally:
        client.close()
    return PlayedRun(
        place=place,
        state=status.state,
        specification=members(status.specification),
        records=[members(record) for record in records],
        result=None if status.result is None else members(status.result),
        environment=None,
        scenario=None,
    )


def _scenario(path: Path) -> dict[str, object] | None:
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
        return f"{folder} is not a folder; give a run folder, or the URL of a run on a server"
    below = sorted(str(path.parent) for path in folder.glob("*/specification.json"))
    hint = f"; it contains the run folders {', '.join(below)}" if below else ""
    return f"{folder} is not a run folder: it has no specification.json{hint}"
