"""Play one game to its end while its processes are killed."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.game import SERVICES, ChaosError, Game, compare, records
from benchmarks.chaos.pipeline import RANDOM
from benchmarks.endurance.damage import Snapshot, Wound, files_of, inflict, snapshot
from benchmarks.endurance.plan import Draw, Event
from benchmarks.endurance.stage import Stage
from benchmarks.endurance.tally import Tally
from benchmarks.endurance.watch import FaultFoundError, Watch

_BELOW = {"server": ("runs/game",), "proxy": ("attacks",), "provider": ()}
_KEPT = 6  # snapshots of each service
_SIGKILLED = -9


class EndedByRefusalError(Exception):
    """The game cannot go on for a damage that it had lived with, and names the file."""


class Round:
    """A disturbed game.

    Args:
        game: the game to play.
        folder: folder of all files.
        reference: run folder of the undisturbed game; pretrained state is in `cache` beside it.
        tally: counts the events.
        patience: seconds without a step or output after which the game counts as hanging.
    """

    def __init__(
        self, game: Game, folder: Path, reference: Path, tally: Tally, *, patience: float = 60.0
    ) -> None:
        self._game = game
        self._folder = folder
        self._reference = reference
        self._tally = tally
        self._wanted = records(reference)
        folder.mkdir(parents=True)
        if game.learner is not None:
            shutil.copytree(reference.parent / "cache", folder / "cache")
        self._stage = Stage(game, folder)
        self._watch = Watch(self._stage, len(self._wanted), patience)
        self._snapshots: dict[str, list[Snapshot]] = {name: [] for name in SERVICES}
        self._steps = 0
        self._wounds: list[Wound] = []
        self._owed: list[Draw] = []  # damages that found no file yet
        self._events: list[str] = []

    def play(self, events: Iterator[Event], kills: int) -> int:
        """Play the game to its end; return how many processes were killed: `kills`, if it lasts.

        Raises:
            FaultFoundError: it went, or ended, otherwise than it may; the message is all that is known.
            EndedByRefusalError: it refused to go on, for a damage that it had gone on with before.
        """
        killed = 0
        try:
            for name in SERVICES:
                self._stage.start(name)
            while killed < kills and (died := self._disturb(next(events))):
                killed += died
            while not self._stage.over():
                self._steps = max(self._steps, self._stage.step())
                self._unless_refused(self._watch.outcome(self._steps, earlier=self._earlier()))
            compare(self._stage.run, self._reference)
        except ChaosError as error:
            known = "\n".join([str(error), *self._events])
            raise FaultFoundError(known + self._stage.last_words()) from error
        finally:
            self._stage.close()
        return killed

    def _disturb(self, event: Event) -> int:
        """Carry out an event; return the number of processes killed, 0 if the game was already over."""
        moment = self._until(event)
        if moment is None:
            return 0
        for victim in event.victims:
            self._stage.kill(victim)
            self._tally.killed(victim, moment if victim == event.victims[0] else RANDOM)
        self._events.append(f"{event.number}: {' and '.join(event.victims)} killed, {moment}")
        self._check_history()
        wound = self._damage(event)
        self._tally.restarted(damaged=wound is not None)
        self._stage.mark()
        for victim in event.victims:
            self._stage.start(victim)
        if wound is not None:
            self._events[-1] += f"; {wound.file}: {wound.kind}"
            self._live_with(event, wound)
        return len(event.victims)

    def _until(self, event: Event) -> str | None:
        """Wait for the moment to kill; return which it is, or None if the game is over before."""
        first, named = event.victims[0], event.moment != RANDOM
        if named:
            self._stage.die_at(first, event.moment)
        deadline = time.monotonic() + event.wait
        while time.monotonic() < deadline:
            if self._stage.over():
                return None
            if named and self._stage.ended(first) == _SIGKILLED:
                return event.moment
            outcome = self._watch.check_alive(besides=first if named else None, earlier=self._earlier())
            self._unless_refused(outcome)
            time.sleep(0.02)
        return RANDOM

    def _check_history(self) -> None:
        if not (self._stage.run / "metrics.jsonl").exists():
            return
        try:
            found = records(self._stage.run)
        except ValueError as error:
            raise FaultFoundError(f"metrics.jsonl is not what was recorded: {error}") from error
        for number, (record, wanted) in enumerate(zip(found, self._wanted, strict=False)):
            if record != wanted:
                raise FaultFoundError(f"line {number} of metrics.jsonl is {record}, not {wanted}")
        self._steps = max(self._steps, len(found))

    def _damage(self, event: Event) -> Wound | None:
        below = [name for victim in event.victims for name in _BELOW[victim]]
        below += ["cache"] if self._game.learner in event.victims else []
        now = snapshot(self._folder, files_of(self._folder, below))
        earlier = [kept for victim in event.victims for kept in self._snapshots[victim]]
        for victim in event.victims:
            self._snapshots[victim] = [*self._snapshots[victim], now][-_KEPT:]
        self._owed += [event.damage] if event.damage else []
        wound = inflict(self._owed[0], self._folder, now, earlier) if self._owed else None
        self._owed = self._owed[1:] if wound else self._owed
        return wound

    def _live_with(self, event: Event, wound: Wound) -> None:
        outcome = self._watch.outcome(self._steps, wound.names, self._earlier())
        self._tally.wounded(wound, outcome)
        self._events[-1] += f": {outcome}"
        if not outcome.startswith("refused"):
            self._wounds.append(wound)
            return
        for victim in event.victims:
            self._stage.stop(victim)
        wound.undo()
        self._stage.mark()
        for name in SERVICES:
            if self._stage.ended(name) is not None:
                self._stage.start(name)
        self._events[-1] += ", put back"
        self._unless_refused(self._watch.outcome(self._steps, earlier=self._earlier()))

    def _unless_refused(self, outcome: str | None) -> None:
        if outcome is not None and outcome.startswith("refused"):
            raise EndedByRefusalError

    def _earlier(self) -> list[str]:
        return [name for wound in self._wounds for name in wound.names]
