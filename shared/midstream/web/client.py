"""A client of the training server, and of a proxy that stands in front of it."""

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.players.reporting import Say
from midstream.protocol.buffers import Buffer, length, slices
from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.messages.history import Metrics, Record
from midstream.protocol.messages.message import Message
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.messages.runs import Runs, Status
from midstream.protocol.problem import PROBLEM_TYPE, Problem
from midstream.protocol.specification import Specification
from midstream.protocol.step_file import decode_step
from midstream.protocol.wire import BATCH_TYPE, decode_tensors
from midstream.web.liveness import KEPT_ALIVE, Watch
from midstream.web.silence import SILENT_AFTER
from midstream.web.tls import Verify, distrust

M = TypeVar("M", bound=Message)

_PATIENCE = 2.0  # seconds of waiting before the client says why
_LONGEST_PAUSE = 3.0


class ServerGoneError(MidstreamError, ConnectionError):
    """The server did not respond within `give_up_after` seconds."""


class UntrustedServerError(ServerGoneError):
    """The server's certificate could not be verified; retrying is useless."""


class Client:
    """A client of one server that retries until the server responds.

    Failed connections, and responses with a status in `ask_again`, are retried with growing random pauses,
    until the server has not responded for `give_up_after` seconds. After two seconds of waiting, `say` is
    called with the reason.

    Args:
        url: base URL, such as `http://127.0.0.1:8000`.
        say: called with a sentence when a wait becomes long, and when it ends.
        give_up_after: seconds without a response; None waits for ever.
        ask_again: the statuses that are retried instead of raised as a problem.
        token: bearer token to send with every request.
        verify: how to verify the server's certificate if the URL is https.
        silent_after: seconds without a sign of life before a connection is closed.
    """

    def __init__(
        self,
        url: str,
        *,
        say: Say = lambda _: None,
        give_up_after: float | None = None,
        ask_again: Collection[int] = (502, 503, 504),
        token: str | None = None,
        verify: Verify = True,
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self.url = url.rstrip("/")
        self._say = say
        self._give_up_after = give_up_after
        self._ask_again = ask_again
        self._told = ""  # the reason of the current wait, as last given to `say`
        self._watch = Watch(self.url, silent_after=silent_after, verify=verify, say=say)
        # A step of a large run may take minutes.
        self._http = httpx.Client(
            base_url=self.url,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(600.0, connect=5.0),
            trust_env=False,
            transport=httpx.HTTPTransport(verify=verify, trust_env=False, socket_options=KEPT_ALIVE),
        )

    def close(self) -> None:
        """Close the connections."""
        self._watch.close()
        self._http.close()

    @contextmanager
    def on_behalf_of(self, authorization: bytes | None) -> Iterator[None]:
        """Send another client's `Authorization` with the requests in this context; not thread-safe."""
        before = self._http.headers
        if authorization is not None:
            self._http.headers = httpx.Headers(before)
            self._http.headers.update({b"Authorization": authorization})
        try:
            yield
        finally:
            self._http.headers = before

    def runs(self) -> list[Status]:
        """Return the status of every run."""
        return self._message(Runs, "GET", "/v1/runs").runs

    def create_run(self, specification: Specification) -> Status:
        """Create a run, and return its status."""
        return self._message(Status, "POST", "/v1/runs", json=specification.model_dump(exclude_unset=True))

    def run(self, run: str) -> Status:
        """Return one run's status."""
        return self._message(Status, "GET", _path(run))

    def metrics(self, run: str) -> list[Record]:
        """Return one record per step so far."""
        return self._message(Metrics, "GET", f"{_path(run)}/metrics").records

    def model(self, run: str) -> ModelDescription:
        """Return the architecture and the loss."""
        return self._message(ModelDescription, "GET", f"{_path(run)}/model")

    def validation(self, run: str) -> dict[str, Tensor]:
        """Return the public Dval: `inputs` and `labels`."""
        return decode_tensors(self._get(f"{_path(run)}/validation").content)

    def parameters(self, run: str, version: int) -> dict[str, Tensor]:
        """Return θ at a version.

        Raises:
            Problem: 404 if the run has not reached that version, 410 if it is no longer available.
        """
        return decode_tensors(self._get(f"{_path(run)}/parameters", params={"version": version}).content)

    def validation_gradient(self, run: str, version: int) -> dict[str, Tensor]:
        """Return v at a parameters version."""
        return decode_tensors(self._get(f"{_path(run)}/validation-gradient/{version}").content)

    def optimizer(self, run: str, version: int) -> TrainingStep:
        """Return the optimizer before the step from a parameters version.

        Raises:
            Problem: 404 if the run has not reached that version, 410 if it has passed it.
        """
        return decode_step(self._get(f"{_path(run)}/optimizer/{version}").content)

    def put_batch(
        self,
        run: str,
        seq: int,
        body: list[Buffer],
        *,
        headers: Mapping[str, str] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Acknowledgement:
        """Send one minibatch, and return the acknowledgement.

        Whenever the whole body has been sent, `meanwhile` is called, before the wait for the answer.

        Raises:
            Problem: the server refused the batch.
            ServerGoneError: the server did not respond for `give_up_after` seconds.
        """
        headers = {**(headers or {}), "Content-Type": BATCH_TYPE, "Content-Length": str(length(body))}
        path = f"{_path(run)}/batches/{seq}"

        def content() -> Iterator[bytes]:
            yield from slices(body)
            meanwhile()

        return self._message(Acknowledgement, "PUT", path, content=content, headers=headers)

    def _message(self, kind: type[M], method: str, path: str, **options: Any) -> M:
        response = self._request(method, path, **options)
        try:
            # A newer server may add members. They stay available in `model_extra`.
            return kind.model_validate_json(response.content, extra="allow")
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False)[0]
            what = f"{method} {self.url}{path} did not return"
            if fault["type"] == "json_invalid":
                detail = f"{what} JSON; is that a training server?"
                raise Problem(502, "The response is not JSON", detail) from error
            where = ".".join(map(str, fault["loc"])) or "the body"
            detail = f"{what} a training server's answer. {where}: {fault['msg']}"
            raise Problem(502, "The response is not a training server's", detail) from error

    def _get(self, path: str, **options: Any) -> httpx.Response:
        return self._request("GET", path, **options)

    def _request(
        self, method: str, path: str, content: Callable[[], Iterator[bytes]] | None = None, **options: Any
    ) -> httpx.Response:
        def once() -> httpx.Response:
            body = None if content is None else content()
            with self._watch.during() as extensions:
                return self._http.request(method, path, content=body, extensions=extensions, **options)

        response = self._until_answered(once)
        if response.status_code >= 400:
            raise _problem(response)
        return response

    def _until_answered(self, once: Callable[[], httpx.Response]) -> httpx.Response:
        asked = heard = time.monotonic()
        pause = 0.05
        while True:
            try:
                response = once()
                if response.status_code not in self._ask_again:
                    if self._told:
                        self._say(f"{self.url} answers again")
                    self._told = ""
                    return response
                if response.status_code == 503:  # the server responds, and asks the client to wait
                    heard = time.monotonic()
                reason = _problem(response).detail
            except httpx.TransportError as error:
                if hopeless := distrust(error, self.url):
                    raise UntrustedServerError(hopeless) from error
                reason = self._watch.verdict or str(error) or type(error).__name__
                heard = max(heard, self._watch.heard)
            now = time.monotonic()
            if self._give_up_after is not None and now - heard > self._give_up_after:
                raise ServerGoneError(
                    f"{self.url} has not answered for {now - heard:.0f} s ({reason}); gave up"
                )
            if reason != self._told and now - asked > _PATIENCE:
                self._say(f"waiting for {self.url}: {reason}")
                self._told = reason
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _path(run: str) -> str:
    return f"/v1/runs/{quote(run, safe='')}"  # in an unquoted name, '?' would begin a query


def _problem(response: httpx.Response) -> Problem:
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    body = (
        response.json() if kind == PROBLEM_TYPE else {"detail": response.text[:200] or response.reason_phrase}
    )
    problem = Problem.from_body(response.status_code, body)
    retry_after = response.headers.get("Retry-After", "")
    problem.retry_after = int(retry_after) if retry_after.isdecimal() else None
    return problem
