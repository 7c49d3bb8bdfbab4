"""Count events and their outcomes, as Markdown tables."""

from collections import Counter
from collections.abc import Iterable

from benchmarks.chaos.game import SERVICES
from benchmarks.endurance.damage import Wound
from benchmarks.endurance.watch import Outcome

_OUTCOMES: tuple[Outcome, ...] = ("went on", "went on, and said so", "refused")


class Tally:
    """Counts."""

    def __init__(self) -> None:
        self._kills: Counter[tuple[str, str]] = Counter()
        self._wounds: Counter[tuple[str, str, Outcome]] = Counter()
        self._restarts: Counter[bool] = Counter()
        self._games: dict[str, Counter[str]] = {}
        self._of_game: dict[str, int] = {}

    def game_ended(self, title: str, how: str) -> None:
        """A game of that title ended."""
        self._games.setdefault(title, Counter())[how] += 1
        self._of_game[title] = self.kills() - sum(n for other, n in self._of_game.items() if other != title)

    def killed(self, service: str, moment: str) -> None:
        """A service was killed at a moment."""
        self._kills[service, moment] += 1

    def restarted(self, *, damaged: bool) -> None:
        """What was killed is started again, after a file was damaged or not."""
        self._restarts[damaged] += 1

    def wounded(self, wound: Wound, outcome: Outcome) -> None:
        """A file was damaged, and what became of it."""
        self._wounds[wound.label(), wound.kind, outcome] += 1

    def kills(self) -> int:
        """Return the number of killed processes."""
        return self._kills.total()

    def markdown(self) -> str:
        """Return all tables."""
        restarts, damaged = self._restarts.total(), self._restarts[True]
        moments = sorted({moment for _, moment in self._kills})
        kills = [[moment, *(self._kills[name, moment] or "" for name in SERVICES)] for moment in moments]
        kills.append(["**together**", *(sum(self._kills[n, m] for m in moments) for n in SERVICES)])
        cases = sorted({(file, kind) for file, kind, _ in self._wounds})
        wounds = [
            [file, kind, *(self._wounds[file, kind, how] or "" for how in _OUTCOMES)] for file, kind in cases
        ]
        sums = [sum(n for (_, _, o), n in self._wounds.items() if o == how) for how in _OUTCOMES]
        wounds.append(["**together**", "", *sums])
        hows = sorted({how for ended in self._games.values() for how in ended})
        games = [
            [t, self._of_game[t], *(ended[how] or "" for how in hows)] for t, ended in self._games.items()
        ]
        return "\n".join(
            [
                f"{self.kills()} SIGKILLs, {restarts} restarts, {damaged} of them with one file damaged.",
                "",
                *_table(["game", "SIGKILLs", *hows], games),
                "",
                *_table(["killed at", *SERVICES], kills),
                "",
                *_table(["file", "damage", *_OUTCOMES], wounds),
            ]
        )


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    headings = list(headings)
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
