"""The man in the middle as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from midstream.players.reporting import Say
from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.messages.message import members
from midstream.protocol.problem import PROBLEM_TYPE, Problem
from midstream.storage import faults
from midstream.web.bodies import read_limited
from midstream.web.client import Client
from midstream.web.silence import SILENT_AFTER
from midstream.web.tls import Verify
from midstream_proxy.activity import Activity
from midstream_proxy.attack import AttackSettings
from midstream_proxy.failures import another_run, as_problems, not_the_next
from midstream_proxy.forward import Forwarder
from midstream_proxy.memory.remembered import RememberedAttack
from midstream_proxy.memory.server import OtherRunError
from midstream_proxy.preparation import Preparation

_ANSWER_WITHIN = 3.0  # seconds; after that the provider gets the problem, and tries for longer itself

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Proxy:
    """Attacks the batches of one run or of all runs, and forwards every other request.

    Args:
        upstream: the training server's base URL.
        settings: the attacker's settings.
        run: the only run to attack; None attacks all.
        out: folder for what the attacker must remember of a run; None keeps it in memory.
        resume_anyway: whether an attack continues although it was begun with other settings, or its memory
            does not fit the run; this is recorded with the run.
        say: called with a sentence when an attack begins.
        verify: how the server's certificate is verified, if its URL is https.
        silent_after: a server that is gone is noticed within this many seconds.
    """

    def __init__(
        self,
        upstream: str,
        settings: AttackSettings,
        *,
        run: str | None = None,
        out: Path | None = None,
        resume_anyway: bool = False,
        say: Say = lambda _: None,
        verify: Verify = True,
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self.upstream = upstream
        self.settings = settings
        self.forwarder = Forwarder(upstream, verify=verify, silent_after=silent_after)
        self.activity = Activity(settings.attacker, upstream)
        self._only = run
        # When the server is not ready, its answer goes to the provider at once, and the provider waits.
        self._client = Client(
            upstream,
            say=say,
            give_up_after=_ANSWER_WITHIN,
            ask_again=(),
            verify=verify,
            silent_after=silent_after,
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="attacker")
        self._preparation = Preparation(
            self._client,
            settings,
            self._worker,
            self.activity,
            out=out,
            resume_anyway=resume_anyway,
            say=say,
        )

    async def put_batch(self, request: Request) -> Response:
        """Attack one minibatch, forward it, and return the server's answer."""
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
            attack = await self._preparation.ready(run, authorization)
            declared, most = request.headers.get("Content-Length", "0"), attack.rules.largest_body
            body = await read_limited(declared, request.stream(), most=most, limit="a batch of this run has")
            faults.reached("received")
            work = asyncio.get_running_loop().run_in_executor(
                self._worker, self._attack, run, request.path_params["seq"], body, authorization
            )
            return JSONResponse(members(await asyncio.shield(work)))
        except Problem as problem:
            return self._answer(problem, run)

    async def forward(self, request: Request) -> Response:
        """Forward a request unchanged, and return the server's answer."""
        self.activity.passes_on()
        try:
            response = await self.forwarder.forward(request)
        except Problem as problem:
            return self._answer(problem)
        self.activity.server_answers()
        return response

    async def close(self) -> None:
        """Finish the current attack, interrupt the attacker's training, and close the connections."""
        self._preparation.closing = True
        await asyncio.to_thread(self._worker.shutdown)
        for attack in self._preparation.runs.values():
            attack.close()
        self._client.close()
        await self.forwarder.close()

    def _answer(self, problem: Problem, run: str = "") -> JSONResponse:
        self.activity.failed(problem, run)
        return JSONResponse(
            problem.body(), problem.status, headers=problem.headers(), media_type=PROBLEM_TYPE
        )

    def _attack(self, run: str, seq: int, body: bytes, authorization: bytes | None) -> Acknowledgement:
        try:
            with as_problems(self.upstream), self._client.on_behalf_of(authorization):
                if (attack := self._preparation.runs.get(run)) is None:
                    raise another_run(run)
                self.activity.does(run, f"attacks batch {seq}")
                attacked = self._attacked(run, attack, seq, body)
                self.activity.moved(run, attack.moves, attack.passed_clean, attack.resumed, attack.move)
                self.activity.does(run, f"waits for the training server to take batch {seq}")
                answer = self._client.put_batch(run, seq, [attacked], headers=self.activity.announcement(run))
                self.activity.taken(run, answer.next_seq)
                faults.reached("forwarded")
                attack.acknowledged(kept_from=answer.kept_from)
                return answer
        except Problem as problem:
            if "parameters_version" in problem.more:  # the run has no θ_seq, so it expects another batch
                raise not_the_next(seq, problem.more["parameters_version"], run) from problem
            raise

    def _attacked(self, run: str, attack: RememberedAttack, seq: int, body: bytes) -> bytes:
        try:
            return attack.answer(seq, body)
        except OtherRunError as error:
            self._preparation.forget(run)
            raise another_run(run) from error


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
    return Response(status_code=400)  # the client disconnected during its request and will not read this
