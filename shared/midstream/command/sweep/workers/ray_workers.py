"""Workers on a Ray cluster, or on a Ray that is started on this machine."""

import io
import secrets
import tarfile
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from midstream.command.results.results_folder import clear
from midstream.command.sweep.events import Ended, Event
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.trial_game import played
from midstream.errors import MidstreamError

_TICK = 0.5  # seconds after which a caller gets its turn, even if nothing happened
_RETRIES = 2  # after which a trial whose process ended has failed
_MARK = ".shared"


class RayError(MidstreamError, RuntimeError):
    """Ray cannot be used; the message says why."""


def play_on_ray(
    trials: Sequence[Trial],
    place: Place,
    *,
    workers: int,
    games_per_device: int | None = None,
    address: str | None = None,
) -> Generator[Event | None]:
    """Play trials as Ray tasks; yield what they report, and None now and then.

    A node that sees the results folder under its path plays there, and a trial goes on after an interruption.
    Any other node plays in a temporary folder, and the run folder is sent back when the trial ends.

    Args:
        trials: the trials, in the order in which they are begun.
        place: where they are played; each task asks Ray for as many CPUs as it has threads.
        workers: number of tasks at once.
        games_per_device: number of tasks that share a GPU; None asks for no GPU.
        address: the cluster's address; None starts Ray here.

    Raises:
        RayError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RayError(
            f"--engine ray needs the package {error.name!r}: pip install 'midstream[ray]'"
        ) from error
    threads = place.threads or 1
    started: dict[str, Any] = {} if address else {"num_cpus": workers * threads, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **started)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RayError(f"the Ray cluster at {address or 'this machine'} cannot be used: {error}") from error
    mark = secrets.token_hex(16)
    place = replace(place, out=place.out.resolve())
    (place.out / _MARK).write_text(mark)
    gpus = 0.0 if games_per_device is None else 1 / games_per_device
    task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=_RETRIES)(_play)
    pending, in_hand = deque(trials), dict[Any, Trial]()
    try:
        while pending or in_hand:
            while pending and len(in_hand) < workers:
                trial = pending.popleft()
                in_hand[task.remote(trial.document(), place.document(), mark)] = trial
            done, _ = ray.wait(list(in_hand), timeout=_TICK)
            for reference in done:
                trial = in_hand.pop(reference)
                try:
                    reason, folder = ray.get(reference)
                except ray.exceptions.RayError as error:
                    reason, folder = f"its process ended: {error}", None
                if folder is not None:
                    _unpack(folder, place.out, trial.name)
                yield Ended(trial.name, reason)
            yield None
    finally:
        ray.shutdown()
        (place.out / _MARK).unlink(missing_ok=True)


def _play(
    document: dict[str, object], where: dict[str, object], mark: str
) -> tuple[str | None, bytes | None]:
    """Play a trial on a node; return the reason of its failure, and its run folder if it must be sent."""
    trial, place = Trial.of(document), Place.of(where)
    with suppress(OSError):
        if (place.out / _MARK).read_text() == mark:
            return played(trial, place, _ignore), None
    with TemporaryDirectory(prefix="midstream-") as folder:
        reason = played(trial, replace(place, out=Path(folder)), _ignore)
        return reason, _packed(Path(folder) / trial.name)


def _ignore(step: int, total: int, text: str) -> None:
    """Tell nobody: a task's only message is its result."""


def _packed(folder: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    return content.getvalue()


def _unpack(content: bytes, out: Path, name: str) -> None:
    """Put a run folder into the results folder, whole or not at all."""
    arriving = out / f".{name}.arriving"
    clear(arriving)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        archive.extractall(arriving, filter="data")
    clear(out / name)
    arriving.rename(out / name)
