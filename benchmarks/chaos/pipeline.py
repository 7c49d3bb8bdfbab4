"""One game between three processes that are killed repeatedly and restarted by the same commands."""

import random
import signal
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.chaos.damage import DAMAGES
from benchmarks.chaos.fault_proxy import FaultProxy
from benchmarks.chaos.game import ChaosError, Game, free_port
from benchmarks.chaos.mortal import nursery, start

MOMENTS = {
    "server": (
        "received",
        "journalled",
        "trained",
        "answering",
        "recorded",
        "checkpoint written",
        "checkpoint set back",
        "checkpoint in place",
        "trimmed",
    ),
    "proxy": ("received", "attacked", "stored", "forwarded"),
    "provider": ("sending", "acknowledged"),
}
"""The moments at which each service can be killed: one between any two durable effects."""

RANDOM = "any moment"
TERMINATED = "SIGTERM"

_DEATHS = {-signal.SIGKILL, -signal.SIGTERM, 0, 130}


@dataclass(frozen=True)
class Death:
    """The death of one process.

    Attributes:
        service: `server`, `proxy` or `provider`.
        moment: one of `MOMENTS`, `RANDOM`, or `TERMINATED`, at a random moment too.
        count: occurrence of the moment at which the process dies.
        damage: damage to the run's files before the server restarts; one of `DAMAGES`, or None.
    """

    service: str
    moment: str
    count: int = 1
    damage: str | None = None


class Pipeline:
    """Three services, and the faults injected into them.

    Args:
        game: the game to play.
        folder: folder of all files.
        deaths: the deaths, in order for each service.
        faulty: share of connections with a fault.
        seed: seed of random moments and connection faults.
    """

    def __init__(
        self, game: Game, folder: Path, deaths: Iterable[Death], *, faulty: float = 0.0, seed: int = 0
    ) -> None:
        self.game = game
        self.folder = folder
        self.run = folder / "runs/game"
        self.tally: Counter[str] = Counter()
        self._deaths = {name: deque[Death]() for name in MOMENTS}
        for death in deaths:
            self._deaths[death.service].append(death)
        self._random = random.Random(seed)
        self._ports = {name: free_port() for name in ("server", "proxy")}
        self._relays = [FaultProxy(port, faulty, seed + i) for i, port in enumerate(self._ports.values())]
        self._nursery = nursery()
        self._children: dict[str, BaseProcess] = {}
        self._fates: dict[str, tuple[Death | None, float]] = {}

    def play(self, within: float) -> None:
        """Play the game to its end and restart every process that dies.

        Args:
            within: timeout in seconds.

        Raises:
            ChaosError: a service ended unexpectedly, or the game did not end in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + within
        with ExitStack() as stack:
            for relay in self._relays:
                stack.enter_context(relay.running())
            stack.callback(self._end)
            for name in MOMENTS:
                self._start(name)
            while not self._over():
                if time.monotonic() > deadline:
                    raise ChaosError(f"not over after {within:.0f} s; {self._last_words()}")
                for name in MOMENTS:
                    self._look_after(name)
                time.sleep(0.01)
        for relay in self._relays:
            self.tally.update({f"network: {kind}": n for kind, n in relay.tally.items() if kind != "None"})

    def left(self) -> int:
        """Return the number of deaths that did not happen."""
        return sum(map(len, self._deaths.values()))

    def _over(self) -> bool:
        fed = self._children["provider"].exitcode == 0 and self._provided()
        return fed and self._decided()

    def _decided(self) -> bool:
        # From here on a server has nothing to resume, so none is stopped at a random moment.
        return (self.run / "result.json").exists()

    def _provided(self) -> bool:
        # A provider that was asked to stop also ends with 0.
        return "were taken" in (self.folder / "provider.log").read_text()

    def _start(self, name: str) -> None:
        death = self._deaths[name].popleft() if self._deaths[name] else None
        moment, after = "", float("inf")
        if death is not None and death.moment in MOMENTS[name]:
            moment = f"{death.moment}:{death.count}"
        elif death is not None:
            after = time.monotonic() + self._random.uniform(0.5, 4.0)
        log = self.folder / f"{name}.log"
        words = self.game.command(
            name, self._ports.get(name, 0), to_proxy=self._url(1), to_server=self._url(0)
        )
        self._children[name] = start(self._nursery, words, folder=self.folder, log=log, moment=moment)
        self._fates[name] = (death, after)

    def _url(self, relay: int) -> str:
        return f"http://127.0.0.1:{self._relays[relay].port}"

    def _look_after(self, name: str) -> None:
        child, (death, after) = self._children[name], self._fates[name]
        if child.exitcode is None:
            if time.monotonic() > after and not self._decided():
                assert death is not None
                (child.terminate if death.moment == TERMINATED else child.kill)()
                self._fates[name] = (death, float("inf"))
            return
        if name == "provider" and child.exitcode == 0 and self._provided():
            return
        if death is None or child.exitcode not in _DEATHS:
            raise ChaosError(f"the {name} ended with exit code {child.exitcode}; {self._last_words()}")
        self.tally[f"{name}: {death.moment}"] += 1
        if death.damage is not None and DAMAGES[death.damage](self.run):
            self.tally[f"files: {death.damage}"] += 1
        self._start(name)

    def _last_words(self) -> str:
        return "; ".join(f"{name}: {(self.folder / f'{name}.log').read_text()[-600:]}" for name in MOMENTS)

    def _end(self) -> None:
        for child in self._children.values():
            child.kill()
            child.join()
