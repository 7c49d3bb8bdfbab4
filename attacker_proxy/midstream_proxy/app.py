"""The man in the middle as an ASGI application."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from midstream import plugins
from midstream.console.progress import Progress
from midstream.mathematics.derivatives.functional import DerivativeError
from midstream.players.referee import PlayerError
from midstream.players.remembering import remembers
from midstream.plugins import PluginError
from midstream.protocol.checks import BatchRules
from midstream.protocol.problem import PROBLEM_TYPE, Problem
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireError
from midstream.run.dataset_checks import DatasetError
from midstream.run.datasets import MissingDataError
from midstream.storage import faults
from midstream.storage.sqlite import IN_MEMORY, DamagedDatabaseError, StorageError
from midstream.web.client import Client, ServerGoneError
from midstream.web.liveness import SILENT_AFTER
from midstream.web.tls import Verify
from midstream_proxy.activity import Activity
from midstream_proxy.attack import AttackSettings
from midstream_proxy.forward import Forwarder, closing_down, unreachable
from midstream_proxy.memory.attack_memory import AttackMemory
from midstream_proxy.memory.recognised import Going, open_memory, refused
from midstream_proxy.memory.remembered import OtherRunError, RememberedAttack
from midstream_proxy.served_game import ServedGame
from midstream_proxy.surrogates.black_box import attacked_run
from midstream_proxy.surrogates.surrogate import SurrogateError

_ANSWER_WITHIN = 3.0  # seconds; past it the provider, who has more patience, is told

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Proxy:
    """Attacks the batches of the runs it is set on, and forwards the rest.

    Args:
        upstream: the training server's base URL.
        settings: what the attacker decided.
        run: the one run to attack; None attacks all.
        out: folder for what it must remember of a run; None keeps it in this process alone.
        resume_anyway: whether an attack goes on that was begun otherwise, or whose memory does not fit the
            run; that is recorded with the run.
        say: told when an attack begins.
        verify: how the server's certificate is verified, where its URL is https.
        silent_after: seconds within which a server that is gone is noticed.
    """

    def __init__(
        self,
        upstream: str,
        settings: AttackSettings,
        *,
        run: str | None = None,
        out: Path | None = None,
        resume_anyway: bool = False,
        say: Callable[[str], None] = lambda _: None,
        verify: Verify = True,
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self.upstream = upstream
        self.settings = settings
        self.forwarder = Forwarder(upstream, verify=verify, silent_after=silent_after)
        self.activity = Activity(settings.attacker, upstream)
        self._only = run
        self._out = None if out is None else out.absolute()
        self._resume_anyway = resume_anyway
        self._say = say
        # A server that asks for patience asks the provider for it, who can say what is waited for.
        self._client = Client(
            upstream,
            say=say,
            give_up_after=_ANSWER_WITHIN,
            ask_again=(),
            verify=verify,
            silent_after=silent_after,
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="attacker")
        self._runs: dict[str, RememberedAttack] = {}
        self._preparing: tuple[str, asyncio.Future[None]] | None = None
        self._training = asyncio.Event()
        self._lesson = ""
        self._closing = False

    async def put_batch(self, request: Request) -> Response:
        """Attack one minibatch and pass it on; return the server's answer."""
        run = request.path_params["run"]
        if self.settings.attacker == "none" or self._only not in (None, run):
            return await self.forward(request)
        authorization = dict(request.headers.raw).get(b"authorization")
        try:
            if (refusal := await self.forwarder.refusal(authorization)) is not None:
                return refusal
        except Problem as problem:
            return self._answer(problem)
        try:
            await self._prepared(run, authorization)
            seq, body = request.path_params["seq"], await _read(request, self._runs[run].rules.largest_body)
            faults.reached("received")
            work = asyncio.get_running_loop().run_in_executor(
                self._worker, self._attack, run, seq, body, authorization
            )
            return JSONResponse(await asyncio.shield(work))
        except Problem as problem:
            return self._answer(problem, run)

    async def forward(self, request: Request) -> Response:
        """Pass anything else on."""
        self.activity.passes_on()
        try:
            response = await self.forwarder.forward(request)
        except Problem as problem:
            return self._answer(problem)
        self.activity.server_answers()
        return response

    async def close(self) -> None:
        """Finish the attack in hand, give up a surrogate's training, and close the connections."""
        self._closing = True
        await asyncio.to_thread(self._worker.shutdown)
        for attack in self._runs.values():
            attack.close()
        self._client.close()
        await self.forwarder.close()

    def _answer(self, problem: Problem, run: str = "") -> JSONResponse:
        self.activity.failed(problem, run)
        return JSONResponse(
            problem.body(), problem.status, headers=problem.headers(), media_type=PROBLEM_TYPE
        )

    async def _prepared(self, run: str, authorization: bytes | None) -> None:
        """Return once the attacker is ready for a run, which it reads under the provider's `Authorization`.

        It gets ready for one run at a time, in the thread that attacks: meanwhile no batch is attacked.

        Raises:
            Problem: 503, it learns, for a provider to wait; or why it cannot be ready.
        """
        while self._preparing is not None or run not in self._runs:
            if self._preparing is None:
                self._training.clear()
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(self._worker, self._prepare, run, authorization, loop)
                work.add_done_callback(lambda done: done.exception())  # though nobody may ask again
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

    def _prepare(self, run: str, authorization: bytes | None, loop: asyncio.AbstractEventLoop) -> None:
        def say(text: str) -> None:
            self._say(f"run {run!r}: {text}")

        def tell(step: int, steps: int, text: str) -> None:
            if self._closing:
                raise closing_down()
            self._lesson = f"{text}: step {step} of {steps}"
            if not bars:
                loop.call_soon_threadsafe(self._training.set)
                bars.append(stack.enter_context(Progress(steps, label=f"run {run!r}")))
            bars[0].update(step, text, total=steps)
            self.activity.does(run, f"learns before the game: {self._lesson}")

        bars: list[Progress] = []
        with self._in_words(), self._client.on_behalf_of(authorization), ExitStack() as stack:
            game = ServedGame(self._client, run)
            memory, going = self._memory(run, say)
            self.activity.does(run, "gets the attacker ready")
            undo = stack.enter_context(ExitStack())
            undo.callback(memory.close)
            attacked = attacked_run(game, self.settings, tell=tell, say=say)
            specification, size = game.specification(), game.train_size()
            rules = BatchRules(specification, size, attacked.input_shape, attacked.classes)
            self._runs[run] = RememberedAttack(
                attacked, rules, memory, game, going, signing_key=self.settings.signing_key
            )
            undo.pop_all()
        budget = attacked.budget
        self.activity.is_ready(run, budget, specification.total_steps(size))
        self._say(f"attacking run {run!r}: {self.settings.attacker}, {budget.norm} ε = {budget.epsilon:g}")

    def _memory(self, run: str, say: Callable[[str], None]) -> tuple[AttackMemory, Going]:
        status, player = self._client.run(run), plugins.make("attackers", self.settings.attacker)
        going = Going(
            status["id"], self.settings, remembers(player), status["step"], self._resume_anyway, say
        )
        # The name as the specification's rules let it pass, not as the request has it.
        name = Specification.model_validate(status["specification"]).name
        path = IN_MEMORY if self._out is None else self._out / f"attack-{name}.sqlite"
        return open_memory(path, going), going

    def _attack(self, run: str, seq: int, body: bytes, authorization: bytes | None) -> dict[str, Any]:
        try:
            with self._in_words(), self._client.on_behalf_of(authorization):
                if (attack := self._runs.get(run)) is None:
                    raise _another_run(run)
                self.activity.does(run, f"attacks batch {seq}")
                goes_on = self._answered(run, attack, seq, body)
                self.activity.moved(run, attack.moves, attack.passed_clean, attack.resumed, attack.move)
                self.activity.does(run, f"waits for the training server to take batch {seq}")
                answer = self._client.put_batch(run, seq, [goes_on])
                self.activity.taken(run, answer.get("next_seq", seq + 1))
                faults.reached("forwarded")
                attack.acknowledged(kept_from=answer.get("kept_from", seq))
                return answer
        except Problem as problem:
            if "parameters_version" in problem.more:  # the batch is not the one the run is waiting for
                wanted = problem.more["parameters_version"]
                detail = f"batch {seq} came, batch {wanted} is next in run {run!r}"
                raise Problem(409, "Not the next batch", detail, next_seq=wanted) from problem
            raise

    def _answered(self, run: str, attack: RememberedAttack, seq: int, body: bytes) -> bytes:
        try:
            return attack.answer(seq, body)
        except OtherRunError as error:
            self._runs.pop(run).close()
            raise _another_run(run) from error

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            raise Problem(400, "The body is not a batch", str(error)) from error
        except ServerGoneError as error:
            raise unreachable(self.upstream, error) from error
        except DamagedDatabaseError as error:
            raise refused(str(error)) from error
        except StorageError as error:
            raise Problem(503, "The attacked batch cannot be stored", str(error), retry_after=1) from error
        except (DatasetError, MissingDataError) as error:
            raise Problem(
                500, "The attacker lacks the run's data", f"{error}; the batch was not passed on"
            ) from error
        except (DerivativeError, PlayerError, PluginError, SurrogateError) as error:
            logging.getLogger("midstream.proxy").error("%s", error)
            raise Problem(500, "The attack failed", f"{error}; the batch was not passed on") from error


def make_app(proxy: Proxy) -> Starlette:
    """Return the application that serves a proxy."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.close()

    return Starlette(
        lifespan=lifespan,
        exception_handlers={ClientDisconnect: _nobody_there},
        routes=[
            Route("/v1/runs/{run}/batches/{seq:int}", proxy.put_batch, methods=["PUT"]),
            Route("/{path:path}", proxy.forward, methods=_METHODS),
        ],
    )


def _another_run(run: str) -> Problem:
    what = f"the server has another run under the name {run!r} now, and the attacker begins with that one"
    return Problem(503, "The attacker is not ready yet", what, retry_after=1)


async def _nobody_there(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # the client hung up within its request, and will not read this


async def _read(request: Request, limit: int) -> bytes:
    declared, body = request.headers.get("Content-Length", "0"), bytearray()
    if declared.isdigit() and int(declared) <= limit:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise Problem(413, "The body is too large", f"a batch of this run has at most {limit} bytes")
