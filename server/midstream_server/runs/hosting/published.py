"""The tensors that a run publishes, each encoded once: parameters, gradient, optimizer, validation set."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from torch import Tensor

from midstream.protocol.problem import Problem
from midstream.protocol.step_file import encode_step
from midstream.protocol.wire import encode_tensors
from midstream.run.optimizing.next_step import UnmodelledStepError
from midstream_server.runs.training import TrainingRun

KEPT_VERSIONS = 2

Encoded = tuple[int, bytes]


@dataclass(frozen=True)
class Snapshot:
    """A copy of the parameters after a number of steps, readable while training continues."""

    version: int
    tensors: dict[str, Tensor]


class Published:
    """The tensors that a run publishes.

    Args:
        name: the run's name.
        run: the training run.
        in_worker: runs a function in the one thread that may touch the run.
    """

    def __init__(
        self, name: str, run: TrainingRun, in_worker: Callable[[Callable[[], Encoded]], Awaitable[Encoded]]
    ) -> None:
        self.name = name
        self.run = run
        self._in_worker = in_worker
        self._snapshots: deque[Snapshot] = deque(maxlen=KEPT_VERSIONS)
        self._encoded: Encoded = (-1, b"")
        self._live: dict[str, Encoded] = {}
        self._validation: bytes | None = None
        self.publish()

    @property
    def version(self) -> int:
        """The version of the newest published parameters: the number of steps taken."""
        return self._snapshots[-1].version

    def publish(self) -> None:
        """Publish the live parameters; called in the run's thread."""
        tensors = {name: value.clone() for name, value in self.run.parameters().items()}
        self._snapshots.append(Snapshot(self.run.step, tensors))

    async def parameters(self, version: int) -> bytes:
        """Return θ at one version as safetensors.

        Raises:
            Problem: 404 if the run has not reached that version, 410 if it is no longer available.
        """
        for snapshot in tuple(self._snapshots):  # a copy, since the run's thread appends concurrently
            if snapshot.version == version:
                if self._encoded[0] != version:
                    body = await asyncio.to_thread(self._encode, version, snapshot.tensors)
                    self._encoded = (version, body)
                return self._encoded[1]
        raise self._not_kept(version, "parameters")

    async def validation_gradient(self, version: int) -> bytes:
        """Return v at the live parameters as safetensors, computed once.

        Raises:
            Problem: 404 if the run has not reached that version, 410 if it has moved past it.
        """

        def encode() -> bytes:
            return self._encode(version, dict(self.run.validation_gradient()))

        return await self._at_live_parameters("the validation gradient", version, encode)

    async def optimizer(self, version: int) -> bytes:
        """Return the optimizer's state for the step from the live parameters, as safetensors.

        Raises:
            Problem: 404 if the run has not reached that version or its step is not modelled, 410 if it has
                moved past it.
        """

        def encode() -> bytes:
            try:
                step = self.run.optimization.next_step(version)
            except UnmodelledStepError as error:
                raise Problem(404, "The optimizer's step is not modelled", str(error)) from error
            return encode_step(step, run=self.name, parameters_version=version)

        return await self._at_live_parameters("the optimizer", version, encode)

    async def _at_live_parameters(self, what: str, version: int, encode: Callable[[], bytes]) -> bytes:
        if self._live.get(what, (-1,))[0] != version:

            def compute() -> Encoded:
                return (version, encode()) if self.run.step == version else (-1, b"")

            encoded = await self._in_worker(compute)
            if encoded[0] != version:
                raise self._not_kept(version, what)
            self._live[what] = encoded
        return self._live[what][1]

    async def validation(self) -> bytes:
        """Return the public Dval as safetensors: `inputs` as stored, and `labels`."""
        if self._validation is None:
            data = self.run.validation
            tensors = {"inputs": data.inputs, "labels": data.labels}
            self._validation = await asyncio.to_thread(encode_tensors, tensors, run=self.name)
        return self._validation

    def _encode(self, version: int, tensors: dict[str, Tensor]) -> bytes:
        return encode_tensors(tensors, run=self.name, parameters_version=str(version))

    def _not_kept(self, version: int, what: str) -> Problem:
        if version > self.version:
            return Problem(
                404,
                f"No such version of {what} yet",
                f"run {self.name!r} is at version {self.version}, not yet at {version}",
                parameters_version=self.version,
            )
        return Problem(
            410,
            f"That version of {what} is gone",
            f"run {self.name!r} is at version {self.version}; version {version} is no longer available",
            parameters_version=self.version,
        )
