"""The man in the middle as an ASGI application."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from midstream.checks import BatchRules
from midstream.client import Client, ServerGoneError
from midstream.players import PlayerError
from midstream.plugins import PluginError
from midstream.problem import PROBLEM_TYPE, Problem
from midstream.progress import Progress
from midstream.tls import Verify
from midstream.wire import Buffer, WireBatch, WireError, decode_batch, encode_batch
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_proxy.black_box import BlackBoxRun, attacked_run
from midstream_proxy.forward import Forwarder, closing_down, unreachable
from midstream_proxy.served_game import ServedGame
from midstream_proxy.surrogate import SurrogateError

_ANSWER_WITHIN = 3.0  # seconds; past it the provider, who has more patience, is told

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Proxy:
    """Attacks the batches of the runs it is set on, and forwards the rest.

    Args:
        upstream: the training server's base URL.
        settings: what the attacker decided.
        run: the one run to attack; None attacks all.
        say: told when an attack begins.
        verify: how the server's certificate is verified, where its URL is https.
    """

    def __init__(
        self,
        upstream: str,
        settings: AttackSettings,
        *,
        run: str | None = None,
        say: Callable[[str], None] = lambda _: None,
        verify: Verify = True,
    ) -> None:
        self.upstream = upstream
        self.settings = settings
        self.forwarder = Forwarder(upstream, verify=verify)
        self._only = run
        self._say = say
        # A server that asks for patience asks the provider for it, who can say what is waited for.
        self._client = Client(upstream, give_up_after=_ANSWER_WITHIN, ask_again=(), verify=verify)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="attacker")
        self._runs: dict[str, AttackedRun | BlackBoxRun] = {}
        self._rules: dict[str, BatchRules] = {}
        self._preparing: tuple[str, asyncio.Future[None]] | None = None
        self._training = asyncio.Event()
        self._closing = False
        self._sent: dict[str, tuple[int, bytes, list[Buffer]]] = {}

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
            return _answer(problem)
        try:
            await self._prepared(run, authorization)
            seq, body = request.path_params["seq"], await _read(request, self._rules[run].largest_body)
            work = asyncio.get_running_loop().run_in_executor(
                self._worker, self._attack, run, seq, body, authorization
            )
            return JSONResponse(await asyncio.shield(work))
        except Problem as problem:
            return _answer(problem)

    async def forward(self, request: Request) -> Response:
        """Pass anything else on."""
        try:
            return await self.forwarder.forward(request)
        except Problem as problem:
            return _answer(problem)

    async def close(self) -> None:
        """Finish the attack in hand, give up a surrogate's training, and close the connections."""
        self._closing = True
        await asyncio.to_thread(self._worker.shutdown)
        self._client.close()
        await self.forwarder.close()

    async def _prepared(self, run: str, authorization: bytes | None) -> None:
        """Return once the attacker is ready for a run, which it reads under the provider's `Authorization`.

        It gets ready for one run at a time, in the thread that attacks: meanwhile no batch is attacked.

        Raises:
            Problem: 503, it trains a surrogate, for a provider to wait; or why it cannot be ready.
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
                what = f"the attacker is training a surrogate of run {name!r}, which is black-box"
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
            if not bars:
                loop.call_soon_threadsafe(self._training.set)
                bars.append(stack.enter_context(Progress(steps, label=f"surrogate of run {run!r}")))
            bars[0].update(step, text)

        bars: list[Progress] = []
        with self._in_words(), self._client.on_behalf_of(authorization), ExitStack() as stack:
            game = ServedGame(self._client, run)
            attacked = attacked_run(game, self.settings, tell=tell, say=say)
            self._rules[run] = BatchRules(
                game.specification(), game.train_size(), attacked.input_shape, attacked.classes
            )
            self._runs[run] = attacked
        budget = self._runs[run].budget
        self._say(f"attacking run {run!r}: {self.settings.attacker}, {budget.norm} ε = {budget.epsilon:g}")

    def _attack(self, run: str, seq: int, body: bytes, authorization: bytes | None) -> dict[str, Any]:
        try:
            with self._in_words(), self._client.on_behalf_of(authorization):
                batch = decode_batch(body)
                self._rules[run].check(batch, seq=seq)  # what the server would refuse is not attacked
                return self._client.put_batch(run, seq, self._attacked(run, batch, body))
        except Problem as problem:
            if "parameters_version" in problem.more:  # the batch is not the one the run is waiting for
                wanted = problem.more["parameters_version"]
                detail = f"batch {seq} came, batch {wanted} is next in run {run!r}"
                raise Problem(409, "Not the next batch", detail, next_seq=wanted) from problem
            raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            raise Problem(400, "The body is not a batch", str(error)) from error
        except ServerGoneError as error:
            raise unreachable(self.upstream, error) from error
        except (PlayerError, PluginError, SurrogateError) as error:
            logging.getLogger("midstream.proxy").error("%s", error)
            raise Problem(500, "The attack failed", f"{error}; the batch was not passed on") from error

    def _attacked(self, run: str, batch: WireBatch, body: bytes) -> list[Buffer]:
        # A batch that is sent again is answered with the same bytes: the attacker remembers what it
        # did to an input, and must not do it twice.
        sent = self._sent.get(run)
        if sent is not None and sent[0] == batch.seq and sent[1] == body:
            return sent[2]
        attacked = encode_batch(self._runs[run].attack(batch))
        self._sent[run] = (batch.seq, body, attacked)
        return attacked


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


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(), problem.status, headers=problem.headers(), media_type=PROBLEM_TYPE)
