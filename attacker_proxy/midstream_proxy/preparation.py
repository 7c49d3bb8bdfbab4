"""Getting the attacker ready for a run, which can take minutes: one run at a time, in the attack's thread."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from midstream import plugins
from midstream.console.progress import Progress
from midstream.players.remembering import remembers
from midstream.players.reporting import Say
from midstream.protocol.checks import BatchRules
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.storage.attacked import truth_file
from midstream.storage.sqlite import IN_MEMORY
from midstream.web.client import Client
from midstream_proxy.activity import Activity
from midstream_proxy.attack import AttackSettings
from midstream_proxy.failures import as_problems
from midstream_proxy.forward import closing_down
from midstream_proxy.memory.attack_memory import AttackMemory
from midstream_proxy.memory.recognised import Going, open_memory
from midstream_proxy.memory.remembered import RememberedAttack
from midstream_proxy.reading.served_game import ServedGame
from midstream_proxy.surrogates.black_box import attacked_run


class Preparation:
    """Makes an attack ready for each run whose batches arrive.

    Args:
        client: reads the run from the training server.
        settings: the attacker's settings.
        worker: the one thread that attacks. It attacks no batch while it prepares a run.
        activity: what the status page shows.
        out: folder for what the attacker must remember of a run; None keeps it in memory.
        resume_anyway: whether an attack continues although it was begun with other settings, or its memory
            does not fit the run; this is recorded with the run.
        say: called with a sentence when an attack begins.
    """

    def __init__(
        self,
        client: Client,
        settings: AttackSettings,
        worker: ThreadPoolExecutor,
        activity: Activity,
        *,
        out: Path | None,
        resume_anyway: bool,
        say: Say,
    ) -> None:
        self.runs: dict[str, RememberedAttack] = {}
        """The attacks that are ready, by the run's name."""
        self.closing = False
        """Set to interrupt the attacker's training."""
        self._client = client
        self._settings = settings
        self._worker = worker
        self._activity = activity
        self._out = None if out is None else out.absolute()
        self._resume_anyway = resume_anyway
        self._say = say
        self._preparing: tuple[str, asyncio.Future[None]] | None = None
        self._training = asyncio.Event()
        self._lesson = ""

    async def ready(self, run: str, authorization: bytes | None) -> RememberedAttack:
        """Return the attack on a run, once the attacker is ready for it.

        Args:
            run: the run's name.
            authorization: the provider's `Authorization`, under which the run is read.

        Raises:
            Problem: 503 while the attacker learns, so that the provider waits; or why it cannot be ready.
        """
        while self._preparing is not None or run not in self.runs:
            if self._preparing is None:
                self._training.clear()
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(self._worker, self._prepare, run, authorization, loop)
                work.add_done_callback(lambda done: done.exception())  # retrieved, even if nobody asks again
                self._preparing = (run, work)
            preparing = self._preparing
            name, work = preparing
            training = asyncio.ensure_future(self._training.wait())
            either: set[asyncio.Future[Any]] = {work, training}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            training.cancel()
            if not work.done():
                what = f"the attacker learns what it needs for run {name!r}: {self._lesson}"
                raise Problem(503, "The attacker is not ready yet", what, retry_after=1)
            failed = work.exception()
            if self._preparing is preparing:
                self._preparing = None
            if name == run and failed is not None:
                raise failed
        return self.runs[run]

    def forget(self, run: str) -> None:
        """Close the attack on a run; the run's next batch has it prepared again."""
        self.runs.pop(run).close()

    def _prepare(self, run: str, authorization: bytes | None, loop: asyncio.AbstractEventLoop) -> None:
        def say(text: str) -> None:
            self._say(f"run {run!r}: {text}")

        def tell(step: int, steps: int, text: str) -> None:
            if self.closing:
                raise closing_down()
            self._lesson = f"{text}: step {step} of {steps}"
            if not bars:
                loop.call_soon_threadsafe(self._training.set)
                bars.append(stack.enter_context(Progress(steps, label=f"run {run!r}")))
            bars[0].update(step, text, total=steps)
            self._activity.does(run, f"learns before the game: {self._lesson}")

        bars: list[Progress] = []
        with as_problems(self._client.url), self._client.on_behalf_of(authorization), ExitStack() as stack:
            game = ServedGame(self._client, run)
            memory, going = self._memory(run, say)
            self._activity.does(run, "gets the attacker ready")
            undo = stack.enter_context(ExitStack())
            undo.callback(memory.close)
            attacked = attacked_run(game, self._settings, tell=tell, say=say)
            specification, size = game.specification(), game.train_size()
            rules = BatchRules(specification, size, attacked.input_shape, attacked.classes)
            self.runs[run] = RememberedAttack(
                attacked,
                rules,
                memory,
                game,
                going,
                signing_key=self._settings.signing_key,
                truth=self._truth(specification),
            )
            undo.pop_all()
        budget = attacked.budget
        self._activity.is_ready(run, budget, specification.total_steps(size))
        self._say(f"attacking run {run!r}: {self._settings.attacker}, {budget.norm} ε = {budget.epsilon:g}")

    def _truth(self, specification: Specification) -> Path | None:
        if self._out is None or specification.checker is None:
            return None
        return truth_file(self._out, str(specification.name))

    def _memory(self, run: str, say: Say) -> tuple[AttackMemory, Going]:
        status, player = self._client.run(run), plugins.make("attackers", self._settings.attacker)
        going = Going(status.id, self._settings, remembers(player), status.step, self._resume_anyway, say)
        # The name as the specification validates it, not as the request spells it: it becomes a file name.
        name = status.specification.name
        path = IN_MEMORY if self._out is None else self._out / f"attack-{name}.sqlite"
        return open_memory(path, going), going
