"""Play a sweep: the trials of a grid that a results folder does not hold yet."""

import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from midstream.command.results.reading import gathered
from midstream.command.results.results import Results
from midstream.command.results.results_folder import outcome_of, write_failure
from midstream.command.sweep.axes import Axes, GridError
from midstream.command.sweep.devices import shared_devices
from midstream.command.sweep.events import Ended, Event
from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.grid_file import read_grids
from midstream.command.sweep.place import Place
from midstream.command.sweep.progress import SweepProgress
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.workers.fork_server import ForkServer
from midstream.command.sweep.workers.local_workers import play_on_workers

Engine = Literal["local", "ray"]


def sweep(
    grid: Axes | Path | str,
    *,
    out: Path | str,
    workers: int = 2,
    threads: int = 1,
    device: str = "auto",
    games_per_device: int | None = None,
    engine: Engine = "local",
    address: str | None = None,
    transport: Literal["local", "http"] = "local",
    data_root: Path | None = None,
    download: bool = False,
    cache: Path | None = None,
    hours: float | None = None,
) -> Results:
    """Play the product of settings, and return the results. Finished trials are read from the folder.

    The function may be interrupted at any time, also by `kill -9`: called again, it goes on.

    Args:
        grid: settings of `midstream play` by name, each with one or several values; or the path of a YAML
            file with such settings. `seeds: 5` stands for the seeds 0 to 4.
        out: the results folder.
        workers: number of games that are played at once.
        threads: CPU threads of each game; results are bit-identical only for equal counts.
        device: the torch device.
        games_per_device: number of games that share a GPU, side by side in one process; replaces `workers`.
        engine: `local` for processes on this machine, `ray` for a Ray cluster.
        address: the cluster's address; None starts Ray on this machine.
        transport: `local` for one process per game, `http` for three.
        data_root: torchvision's data root; by default that of `MIDSTREAM_DATA_ROOT`, if it is set. No other
            variable of this kind counts.
        download: whether missing data may be downloaded.
        cache: cache folder of pretrained state.
        hours: stop after this time; unfinished trials are listed in the results.

    Returns:
        The finished trials; the failed ones and those that are still to be played, by name.

    Raises:
        midstream.command.sweep.axes.GridError: the grid is not valid.
        ValueError: the device cannot be used.
    """
    trials = trials_of(read_grids(Path(grid)) if isinstance(grid, str | Path) else [grid])
    if data_root is None and (named := os.environ.get("MIDSTREAM_DATA_ROOT")):
        data_root = Path(named)  # workers inherit no MIDSTREAM_ variable
    place = Place(Path(out), transport, device, threads, data_root, download, cache)
    return play_trials(
        trials,
        place,
        workers=workers,
        games_per_device=games_per_device,
        engine=engine,
        address=address,
        hours=hours,
    )


def play_trials(
    trials: Sequence[Trial],
    place: Place,
    *,
    workers: int,
    games_per_device: int | None = None,
    engine: Engine = "local",
    address: str | None = None,
    hours: float | None = None,
    server: ForkServer | None = None,
) -> Results:
    """Play the trials that a results folder does not hold yet, and return the results of all; see `sweep`.

    Args:
        trials: the trials.
        place: where they are played.
        workers: number of games that are played at once.
        games_per_device: number of games that share a GPU; replaces `workers`.
        engine: `local` or `ray`.
        address: the Ray cluster's address.
        hours: stop after this time.
        server: starts the workers, and is closed at the end. One that was started before its caller imported
            torch is ready when the caller is.
    """
    if place.transport == "local" and any(trial.signed for trial in trials):
        raise GridError("signed protects batches in transit; it needs transport http")
    place.out.mkdir(parents=True, exist_ok=True)
    left = [trial for trial in trials if outcome_of(trial, place.out) is None]
    by_name = {trial.name: trial for trial in trials}
    names = {trial.name: _short(trial) for trial in trials}
    end = None if hours is None else time.monotonic() + 3600 * hours
    if left:
        server = server or ForkServer()
        events = _events(left, place, server, workers, games_per_device, engine, address)
        progress = SweepProgress(names, done=len(trials) - len(left))
        with server, progress, closing(events):
            for event in events:
                if isinstance(event, Ended) and event.reason is not None:
                    write_failure(by_name[event.trial], place.out, event.reason)
                progress.tell(event)
                if end is not None and time.monotonic() > end:
                    break
    return gathered(trials, [place.out])


def _events(
    trials: Sequence[Trial],
    place: Place,
    server: ForkServer,
    workers: int,
    games_per_device: int | None,
    engine: Engine,
    address: str | None,
) -> Generator[Event | None]:
    if engine == "ray":
        from midstream.command.sweep.workers.ray_workers import play_on_ray

        return play_on_ray(trials, place, workers=workers, games_per_device=games_per_device, address=address)
    devices, side_by_side = [place.device], 1
    if games_per_device is not None:
        devices = shared_devices(place.device)
        if place.transport == "http":  # each game has processes of its own
            workers = games_per_device * len(devices)
        else:
            workers, side_by_side = len(devices), games_per_device
    return play_on_workers(
        trials, place, server=server, workers=workers, devices=devices, side_by_side=side_by_side
    )


def _short(trial: Trial) -> str:
    run = trial.specification
    return f"{trial.attacker} vs {run.defender} seed {run.seed}"
