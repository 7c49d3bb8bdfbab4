"""The man in the middle as an ASGI application."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from midstream.client import Client, ServerGoneError
from midstream.gradients import Gradient
from midstream.players import PlayerError
from midstream.plugins import PluginError
from midstream.problem import PROBLEM_TYPE, Problem
from midstream.specification import Specification
from midstream.training_step import TrainingStep
from midstream.wire import Buffer, WireBatch, WireError, decode_batch, encode_batch
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_proxy.forward import Forwarder, unreachable

_ANSWER_WITHIN = 3.0  # seconds; past it the provider, who has more patience, is told
_LARGEST_BODY = 2**30

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class ServedGame:
    """What an attacker reads of a run over HTTP."""

    def __init__(self, client: Client, run: str) -> None:
        self._client = client
        self._run = run

    def specification(self) -> Specification:
        """Return what is trained."""
        return Specification.model_validate(self._client.run(self._run)["specification"])

    def model(self) -> dict[str, Any]:
        """Return the architecture and the loss."""
        return self._client.model(self._run)

    def validation(self) -> dict[str, Tensor]:
        """Return the public Dval."""
        return self._client.validation(self._run)

    def parameters(self, version: int) -> dict[str, Tensor]:
        """Return θ at a version."""
        return self._client.parameters(self._run, version)

    def validation_gradient(self, version: int) -> Gradient:
        """Return v at a version."""
        return self._client.validation_gradient(self._run, version)

    def training_step(self, version: int) -> TrainingStep:
        """Return the optimizer before the step from a version."""
        return self._client.optimizer(self._run, version)


class Proxy:
    """Attacks the batches of the runs it is set on, and forwards the rest.

    Args:
        upstream: the training server's base URL.
        settings: what the attacker decided.
        run: the one run to attack; None attacks all.
        say: told when an attack begins.
    """

    def __init__(
        self,
        upstream: str,
        settings: AttackSettings,
        *,
        run: str | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.upstream = upstream
        self.settings = settings
        self.forwarder = Forwarder(upstream)
        self._only = run
        self._say = say
        # A server that asks for patience asks the provider for it, who can say what is waited for.
        self._client = Client(upstream, give_up_after=_ANSWER_WITHIN, ask_again=())
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="attacker")
        self._runs: dict[str, AttackedRun] = {}
        self._sent: dict[str, tuple[int, bytes, list[Buffer]]] = {}

    async def put_batch(self, request: Request) -> Response:
        """Attack one minibatch and pass it on; return the server's answer."""
        run = request.path_params["run"]
        if self.settings.attacker == "none" or self._only not in (None, run):
            return await self.forward(request)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST_BODY:
                return _answer(
                    Problem(413, "The body is too large", f"at most {_LARGEST_BODY} bytes are taken")
                )
        try:
            seq = request.path_params["seq"]
            work = asyncio.get_running_loop().run_in_executor(
                self._worker, self._attack, run, seq, bytes(body)
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
        """Finish the attack in hand and close the connections."""
        await asyncio.to_thread(self._worker.shutdown)
        self._client.close()
        await self.forwarder.close()

    def _attack(self, run: str, seq: int, body: bytes) -> dict[str, Any]:
        try:
            batch = decode_batch(body)
            return self._client.put_batch(run, seq, self._attacked(run, batch, body))
        except WireError as error:
            raise Problem(400, "The body is not a batch", str(error)) from error
        except ServerGoneError as error:
            raise unreachable(self.upstream, error) from error
        except (PlayerError, PluginError) as error:
            logging.getLogger("midstream.proxy").error("%s", error)
            raise Problem(500, "The attack failed", f"{error}; the batch was not passed on") from error
        except Problem as problem:
            if "parameters_version" in problem.more:  # the batch is not the one the run is waiting for
                wanted = problem.more["parameters_version"]
                detail = f"batch {seq} came, batch {wanted} is next in run {run!r}"
                raise Problem(409, "Not the next batch", detail, next_seq=wanted) from problem
            raise

    def _attacked(self, run: str, batch: WireBatch, body: bytes) -> list[Buffer]:
        # A batch that is sent again is answered with the same bytes: the attacker remembers what it
        # did to an input, and must not do it twice.
        sent = self._sent.get(run)
        if sent is not None and sent[0] == batch.seq and sent[1] == body:
            return sent[2]
        if run not in self._runs:
            self._runs[run] = AttackedRun(ServedGame(self._client, run), self.settings)
            budget = self._runs[run].budget
            self._say(
                f"attacking run {run!r}: {self.settings.attacker}, {budget.norm} ε = {budget.epsilon:g}"
            )
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


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(), problem.status, headers=problem.headers(), media_type=PROBLEM_TYPE)
