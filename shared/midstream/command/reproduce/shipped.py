"""The results that ship with midstream: games in small JSON files, each with what it was played with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midstream.command.reproduce.games import Game
from midstream.errors import MidstreamError
from midstream.storage.seal import BrokenSealError, digest, sealed, unsealed

if TYPE_CHECKING:
    from midstream.command.reproduce.comparison import Compared


class ShippedError(MidstreamError, ValueError):
    """A file of results cannot be read; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Shipment:
    """One file of results.

    Attributes:
        command: the command that played the games.
        environments: versions, device and threads that they were played with.
        games: the games.
        asked: for each game, the settings by which tables ask for it.
    """

    command: str
    environments: Sequence[Mapping[str, Any]]
    games: Sequence[Game]
    asked: Sequence[Sequence[Mapping[str, Any]]]


def write_shipment(path: Path, command: str, found: "Sequence[Compared]") -> None:
    """Write the games of cells to a file, sealed by a digest."""
    games = {game.name: game for one in found for game in one.games}
    asked: dict[str, list[dict[str, Any]]] = {name: [] for name in games}
    for one in found:
        for wanted in one.cell.asked:
            if wanted.name in games and dict(wanted.settings) not in asked[wanted.name]:
                asked[wanted.name].append(dict(wanted.settings))
    environments: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    for game in games.values():
        environment = dict(game.environment)
        if environment not in environments:
            environments.append(environment)
        listed.append(
            {
                "asked": asked[game.name],
                "trial": dict(game.document),
                "environment": environments.index(environment),
                "values": dict(game.values),
                "parameters_sha256": game.parameters_sha256,
                "curve": [list(point) for point in game.curve],
            }
        )
    content = sealed({"command": command, "environments": environments, "games": listed})
    del content["games"]
    lines = ",\n".join(f"  {json.dumps(game, ensure_ascii=False)}" for game in listed)
    rest = json.dumps(content, ensure_ascii=False, indent=1).removeprefix("{\n")
    path.write_text(f'{{\n "games": [\n{lines}\n ],\n{rest}\n', encoding="utf-8")  # a game a line


def read_shipment(name: str, text: str) -> Shipment:
    """Read a file of results.

    Args:
        name: what the file is called, for messages.
        text: its content.

    Raises:
        ShippedError: it is not such a file, or it was changed.
    """
    try:
        content = unsealed(json.loads(text))
        environments = content["environments"]
        games = [
            Game(
                game["trial"],
                game["values"],
                [(int(step), float(value)) for step, value in game["curve"]],
                game["parameters_sha256"],
                environments[game["environment"]],
                shipped=True,
            )
            for game in content["games"]
        ]
        asked = [game.get("asked", []) for game in content["games"]]
        return Shipment(content["command"], environments, games, asked)
    except BrokenSealError as error:
        raise ShippedError(f"{name} was changed after it was written: {error}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ShippedError(f"{name} holds no results: {error!r}") from error


@cache
def shipments() -> dict[str, Shipment]:
    """Return all results that ship with midstream, by the name of their file."""
    folder = files("midstream.command.reproduce") / "results"
    entries = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda e: e.name
    )
    return {entry.name: read_shipment(entry.name, entry.read_text(encoding="utf-8")) for entry in entries}


def shipped_games() -> dict[str, Game]:
    """Return all games that ship with midstream, by the name of their trial.

    If two files hold the same game, its values are those of both.
    """
    found: dict[str, Game] = {}
    for shipment in shipments().values():
        for game in shipment.games:
            other = found.get(game.name)
            same = other is not None and other.parameters_sha256 == game.parameters_sha256
            if other is None or same:
                values = {**(other.values if other else {}), **game.values}
                found[game.name] = replace(game, values=values)
    return found


@cache
def shipped_names() -> Mapping[str, str]:
    """Return the names of the games that ship, by the digest of the settings by which tables ask for them."""
    return {
        digest(settings): game.name
        for shipment in shipments().values()
        for game, asked in zip(shipment.games, shipment.asked, strict=True)
        for settings in asked
    }
