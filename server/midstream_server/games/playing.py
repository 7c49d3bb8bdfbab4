"""The games that a server's operator starts from the dashboard."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from midstream.protocol.messages.games import (
    DATASETS,
    AttackerName,
    GameRequest,
    Games,
    GameState,
    offer,
)
from midstream.protocol.problem import Problem
from midstream.storage.sqlite import remove
from midstream.web.children import Children
from midstream_server.games.plan import Plan, plans_of
from midstream_server.games.processes import Surroundings, started
from midstream_server.games.scenario import write_scenario
from midstream_server.runs.hosting.creating import create
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.hosting.registry import Registry

MOST = 3
"""Maximum number of games at once: a clean one, an attacked one and a defended one."""

GAME = "game.json"
"""The file of a run folder that names the attacker, so that a game goes on after a restart of the server."""

_EVERY = 0.25  # seconds
_PATIENCE = 5.0  # seconds that a data provider has to end by itself


@dataclass
class Game:
    """One game: its run, and the processes that play it.

    Attributes:
        run: the run.
        attacker: the attacker.
        children: the processes.
        playing: whether the processes run.
        problem: why one of them ended too early.
    """

    run: HostedRun
    attacker: AttackerName
    children: Children
    playing: bool = True
    problem: str | None = None


class PlayedGames:
    """Starts games, and ends their processes when the run is over or the server closes down.

    Args:
        registry: the server's runs.
        around: what the processes need to know of the server.
        say: called with a sentence for the operator.
    """

    def __init__(
        self, registry: Registry, around: Surroundings, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._registry = registry
        self._around = around
        self._say = say
        self._games: list[Game] = []
        self._watching: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._closing = False
        has_data = bool(around.data)
        self._offer = offer(DATASETS if has_data else ("digits",), MOST)

    def state(self) -> Games:
        """Return what is offered, and the games so far."""
        games = [
            GameState(run=game.run.name, attacker=game.attacker, playing=game.playing, problem=game.problem)
            for game in self._games
        ]
        return Games(offered=self._offer, games=games)

    async def start(self, request: GameRequest) -> list[str]:
        """Create the runs that a request asks for and start their processes; return the runs' names.

        Raises:
            Problem: 409 if too many games are played; 422 or 503 if the server cannot play this one.
        """
        async with self._turn:
            plans = plans_of(request, self._taken)
            playing = [game.run.name for game in self._games if game.playing]
            if len(playing) + len(plans) > MOST:
                raise Problem(
                    409,
                    "Too many games",
                    f"this server plays at most {MOST} games at once, and plays {', '.join(playing)}; wait "
                    f"for their end, or stop one",
                )
            runs: list[tuple[Plan, HostedRun]] = []
            try:
                for plan in plans:
                    runs.append((plan, await create(self._registry, plan.specification)))
                for plan, run in runs:
                    run.recorded.folder.write_json(GAME, {"attacker": plan.attacker})
                    self._play(run, plan.attacker)
            except (Problem, OSError) as error:
                for _, run in runs:
                    await run.controls.stop()
                if isinstance(error, Problem):
                    raise
                detail = f"{error}; its run was stopped"
                raise Problem(503, "The game cannot be started", detail, retry_after=1) from error
        return [run.name for _, run in runs]

    def take_up(self) -> None:
        """Start the processes of games that an earlier server has not played to the end."""
        for run in self._registry.runs.values():
            if run.over or not (run.recorded.folder.path / GAME).exists():
                continue
            try:
                stored = run.recorded.folder.read_json(GAME)
                attacker = GameRequest.model_validate({"attacker": stored.get("attacker")}).attacker
            except (ValidationError, ValueError, AttributeError, OSError):
                self._say(f"run {run.name!r}: {GAME} names no attacker of the dashboard; nobody plays it")
                continue
            if sum(game.playing for game in self._games) >= MOST:
                self._say(
                    f"run {run.name!r}: nobody plays it, since {MOST} games are played; stop it, or start "
                    f"the server again when one of them is over"
                )
                continue
            try:
                self._play(run, attacker)
            except OSError as error:
                self._say(f"run {run.name!r}: nobody plays it, {error}")

    def interrupt(self) -> None:
        """Ask all processes to end, because the server closes down."""
        self._closing = True
        for game in self._games:
            game.children.interrupt()

    async def close(self) -> None:
        """End all processes."""
        self.interrupt()
        await asyncio.gather(*self._watching)

    def _taken(self, name: str) -> bool:
        registry = self._registry
        known = name in registry.runs or name in registry.set_aside
        return known or (registry.settings.out / name).exists()

    def _play(self, run: HostedRun, attacker: AttackerName) -> None:
        game = Game(run, attacker, started(run, attacker, self._around))
        self._games.append(game)
        watch = asyncio.get_running_loop().create_task(self._watch(game))
        self._watching.add(watch)
        watch.add_done_callback(self._watching.discard)

    async def _watch(self, game: Game) -> None:
        while not game.run.over and not self._closing and game.problem is None:
            await asyncio.sleep(_EVERY)
            ended = game.children.ended()
            if ended.get("provider") == 0:
                del ended["provider"]  # it has sent every batch
            if ended and not game.run.over and not self._closing:
                name, code = next(iter(ended.items()))
                words = game.children.last_words(name)
                game.problem = f"its {name} ended with exit code {code}: {words}"
                self._say(f"run {game.run.name!r}: {game.problem}")
        patience = _PATIENCE if game.run.state == "finished" else 0.0
        while patience > 0 and "provider" not in game.children.ended() and not self._closing:
            patience -= _EVERY  # it writes the result to its log
            await asyncio.sleep(_EVERY)
        await asyncio.to_thread(game.children.stop)
        if game.run.over and not self._closing:
            self._conclude(game)
        game.playing = False

    def _conclude(self, game: Game) -> None:
        """Write the file that repeats a game, and delete what only an unfinished one needs."""
        try:
            # Not before: the file would mark an unfinished game as one that only `play` goes on with.
            write_scenario(game.run, game.attacker, options=self._around.attacking)
            if game.run.state == "finished":
                remove(game.run.recorded.folder.path / f"attack-{game.run.name}.sqlite")
        except OSError as error:
            self._say(f"run {game.run.name!r}: {error}")
