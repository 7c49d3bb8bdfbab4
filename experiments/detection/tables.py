"""The figures of the games as Markdown: mean ± sample standard deviation over the seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

Game = Mapping[str, Any]
Cell = Callable[[Game, str], float | None]
CLEAN = "none"


def table(games: Sequence[Game], cell: Cell, *, where: str = "found", text: str = "{:.2f}") -> str:
    """Return a table with a row for each method and a column for each attacker.

    Args:
        games: the games.
        cell: the number of a game and a method; None leaves it out.
        where: under which key the games hold their methods.
        text: how a number is written.
    """
    attackers = list(dict.fromkeys(game["attacker"] for game in games))
    lines = ["| | " + " | ".join(f"`{one}`" for one in attackers) + " |", "|---" * (1 + len(attackers)) + "|"]
    for name in dict.fromkeys(name for game in games for name in game[where]):
        cells = []
        for attacker in attackers:
            own = [cell(game, name) for game in games if game["attacker"] == attacker and name in game[where]]
            cells.append(spread([one for one in own if one is not None], text))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def each(games: Sequence[Game], cell: Cell, *, text: str = "{:.0f}") -> str:
    """Return a table as `table` does, with the number of each seed; a dash where there is none."""
    attackers = [one for one in dict.fromkeys(game["attacker"] for game in games) if one != CLEAN]
    lines = ["| | " + " | ".join(f"`{one}`" for one in attackers) + " |", "|---" * (1 + len(attackers)) + "|"]
    for name in games[0]["found"]:
        cells = []
        for attacker in attackers:
            own = [cell(game, name) for game in games if game["attacker"] == attacker]
            cells.append(", ".join("–" if one is None else text.format(one) for one in own))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: Sequence[float], text: str = "{:.2f}") -> str:
    """Return the mean and the sample standard deviation.

    >>> spread([0.5, 0.7]), spread([])
    ('0.60 ± 0.14', '')
    """
    if not values:
        return ""
    shown = text.format(mean(values))
    return shown + (f" ± {text.format(stdev(values))}" if len(values) > 1 else "")


def detected_after(game: Game, name: str) -> int | None:
    """Return the number of batches from the first attacked one to the first alarm at an attacked one."""
    struck = game["attacked"]
    hits = [seq for seq in game["found"][name]["alarms"] if seq in struck]
    return 1 + hits[0] - struck[0] if hits else None


def alarms(game: Game, name: str) -> float:
    """Return the share of the game's batches that raised an alarm."""
    return len(game["found"][name]["alarms"]) / len(game["accuracy"])


def harm(games: Sequence[Game]) -> Cell:
    """Return the harm that was done until the first alarm, as a number of a game and a checker.

    It is the test accuracy of the clean game of the same seed minus that of the attacked game, both after
    the batch that raised the alarm; without an alarm, after the last batch.
    """
    clean = {game["seed"]: game["accuracy"] for game in games if game["attacker"] == CLEAN}

    def found(game: Game, name: str) -> float:
        after = detected_after(game, name)
        last = len(game["accuracy"]) - 1 if after is None else game["attacked"][0] + after - 1
        return float(clean[game["seed"]][last] - game["accuracy"][last])

    return found


def pages(games: Sequence[Game]) -> Iterator[tuple[str, str]]:
    """Yield the headings and the tables."""
    attacked = [game for game in games if game["attacker"] != CLEAN]

    def score(key: str) -> Cell:
        def number(game: Game, name: str) -> float | None:
            found: float | None = game["found"][name][key]
            return found

        return number

    yield "AUC", table(attacked, score("auc"))
    yield (
        "Share of the attacked examples found at 5 % false alarms",
        table(attacked, score("true_positives_at_5")),
    )
    yield "Share of the clean examples that were flagged", table(games, score("false_alarms"))
    yield "Share of the batches that raised an alarm", table(games, alarms)
    yield "Batches until the first alarm at an attacked batch, by seed", each(games, detected_after)
    yield "Test accuracy lost until the first alarm, or in the whole game", table(attacked, harm(games))
    if others := [game for game in attacked if "others" in game]:
        for key, heading in OTHERS.items():
            yield heading, table(others, _of_others(key), where="others")


OTHERS = {
    "auc": "AUC of other projects' detectors",
    "found": "Share of the attacked examples that they flag",
    "false_alarms": "Share of the clean examples that they flag",
}


def _of_others(key: str) -> Cell:
    def number(game: Game, name: str) -> float | None:
        found: float | None = game["others"][name][key]
        return found

    return number
