"""One game between real processes: its commands, and the comparison with the expected result."""

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.mortal import nursery, start

SERVICES = ("server", "proxy", "provider")

_HERE = ["--device", "cpu", "--threads", "1"]


class ChaosError(AssertionError):
    """A game did not end as expected."""


@dataclass(frozen=True)
class Game:
    """The settings of a game.

    Attributes:
        settings: settings of the specification, by command-line option.
        attacker: the attacker's name and options.
        checkpoint_every: steps between checkpoints.
        surrogate: settings of a black-box attacker's surrogate, by command-line option.
        learner: the service that pretrains its player, `server` or `proxy`; None if neither does.
    """

    settings: dict[str, str]
    attacker: str = "level-1"
    checkpoint_every: int = 3
    surrogate: dict[str, str] = field(default_factory=dict)
    learner: str | None = None

    def command(self, service: str, port: int, *, to_proxy: str, to_server: str) -> list[str]:
        """Return the words that start a service, and start it again.

        Args:
            service: `server`, `proxy` or `provider`.
            port: where it listens.
            to_proxy: URL that the provider sends to.
            to_server: URL that the proxy passes on to.
        """
        cache = ["--cache", "cache"] if service == self.learner else []
        if service == "server":
            run = ["--run", "game", "--checkpoint-every", str(self.checkpoint_every)]
            return ["serve", "--port", str(port), *run, *_options(self.settings), *cache, *_HERE]
        if service == "proxy":
            attack = ["--attacker", self.attacker, *_options(self.surrogate), "--server", to_server]
            return ["attack", "--port", str(port), *attack, *cache, *_HERE]
        return ["provide", "--server", to_proxy, "--run", "game"]

    def alone(self, folder: Path) -> list[str]:
        """Return the words that play it in one process, undisturbed; what is learned goes to `cache`."""
        words = ["play", *_options(self.settings), "--attacker", self.attacker, *_options(self.surrogate)]
        return [
            *words,
            *("--transport", "local", "--run", "undisturbed", "--out", str(folder), "--cache", "cache"),
            *_HERE,
        ]


def _options(settings: dict[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def undisturbed(game: Game, folder: Path) -> Path:
    """Play a game in one process; return its run folder. Pretrained state is cached in `folder/cache`."""
    log = folder / "undisturbed.log"
    playing = start(nursery(), game.alone(folder), folder=folder, log=log)
    playing.join()
    if playing.exitcode != 0:
        raise ChaosError(f"the undisturbed game failed: {log.read_text()}")
    return folder / "undisturbed"


def compare(run: Path, reference: Path) -> None:
    """Compare a disturbed game with the undisturbed one.

    Raises:
        ChaosError: the parameters differ, or a step is missing, repeated or different in the metrics.
    """
    ended, meant = (_json(path / "result.json")["parameters_sha256"] for path in (run, reference))
    if ended != meant:
        raise ChaosError(f"{run} ended with parameters {ended}, not {meant}")
    found, wanted = (records(path) for path in (run, reference))
    if [record["step"] for record in found] != [record["step"] for record in wanted]:
        raise ChaosError(f"{run} has the steps {[record['step'] for record in found]}")
    for one, other in zip(found, wanted, strict=True):
        if one != other:
            raise ChaosError(f"{run} recorded {one}, not {other}")


def records(run: Path) -> list[dict[str, Any]]:
    """Return a run's records without the times, ignoring an incomplete last line."""
    lines = [
        line for line in (run / "metrics.jsonl").read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def free_port() -> int:
    """Return an unused port on loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
