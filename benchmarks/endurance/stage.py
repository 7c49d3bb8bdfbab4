"""The services of one game as processes: restart them by the same commands and read their output."""

import json
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from benchmarks.chaos.game import SERVICES, Game, free_port
from benchmarks.chaos.mortal import nursery, start

_TRIGGER = "die-at"
_STOP_WITHIN = 15.0
_OPENER = build_opener(ProxyHandler({}))


class Stage:
    """A server, a proxy and a provider.

    Args:
        game: the game to play.
        folder: folder of all files.
    """

    def __init__(self, game: Game, folder: Path) -> None:
        self.game = game
        self.folder = folder
        self.run = folder / "runs/game"
        self._ports = {name: free_port() for name in ("server", "proxy")}
        self._nursery = nursery()
        self._children: dict[str, BaseProcess] = {}
        self._marks = dict.fromkeys(SERVICES, 0)

    def start(self, service: str) -> None:
        """Start a service by its command."""
        to_server, to_proxy = (f"http://127.0.0.1:{self._ports[name]}" for name in ("server", "proxy"))
        words = self.game.command(
            service, self._ports.get(service, 0), to_proxy=to_proxy, to_server=to_server
        )
        self._trigger(service).unlink(missing_ok=True)
        self._children[service] = start(
            self._nursery, words, folder=self.folder, log=self._log(service), trigger=self._trigger(service)
        )

    def ended(self, service: str) -> int | None:
        """Return a service's exit code, or None while it runs."""
        return self._children[service].exitcode

    def die_at(self, service: str, moment: str) -> None:
        """Have a service kill itself at the next moment of that name."""
        part = self._trigger(service).with_suffix(".part")
        part.write_text(moment)
        part.rename(self._trigger(service))

    def kill(self, service: str) -> None:
        """Kill a service (SIGKILL) and wait for its end."""
        child = self._children[service]
        child.kill()
        child.join()
        self._trigger(service).unlink(missing_ok=True)

    def stop(self, service: str) -> None:
        """End a service as Ctrl-C does, and by SIGKILL where that takes long."""
        child = self._children[service]
        if child.exitcode is None:
            child.terminate()
            child.join(_STOP_WITHIN)
        self.kill(service)

    def close(self) -> None:
        """Stop all services."""
        for service in self._children:
            self.kill(service)

    def mark(self) -> None:
        """Let `said` begin here."""
        self._marks = {name: len(self._all_said(name)) for name in SERVICES}

    def said(self, service: str | None = None) -> str:
        """Return what a service, or all of them, said since the mark."""
        names = SERVICES if service is None else (service,)
        return "".join(self._all_said(name)[self._marks[name] :] for name in names)

    def last_words(self) -> str:
        """Return the end of what each service said."""
        return "".join(
            f"\n--- {name} ({self.ended(name)}) ---\n{self._all_said(name)[-1500:]}" for name in SERVICES
        )

    def step(self) -> int:
        """Return how many steps the server says the run has taken; -1 where it says nothing."""
        try:
            with _OPENER.open(f"http://127.0.0.1:{self._ports['server']}/v1/runs/game", timeout=5) as answer:
                return int(json.load(answer)["step"])
        except (URLError, OSError, ValueError, KeyError):
            return -1

    def over(self) -> bool:
        """Return whether the game is over, and its provider knows."""
        return self.ended("provider") == 0 and (self.run / "result.json").exists()

    def _log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def _trigger(self, service: str) -> Path:
        return self.folder / f"{service}.{_TRIGGER}"

    def _all_said(self, service: str) -> str:
        log = self._log(service)
        return log.read_text(errors="replace") if log.exists() else ""


def pause(seconds: float = 0.02) -> None:
    """Let the processes work."""
    time.sleep(seconds)
