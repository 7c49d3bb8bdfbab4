"""Workers on this machine: processes that live as long as the sweep, each with one trial in hand."""

import selectors
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace

from midstream.command.sweep.events import Ended, Event
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.turns import Turns
from midstream.command.sweep.workers.child import Child
from midstream.command.sweep.workers.fork_server import ForkServer

_TICK = 0.5  # seconds after which a caller gets its turn, even if nothing happened
_ATTEMPTS = 3  # a trial whose process ended this often has failed


def play_on_workers(
    trials: Sequence[Trial],
    place: Place,
    *,
    server: ForkServer,
    workers: int,
    devices: Sequence[str],
    side_by_side: int = 1,
) -> Generator[Event | None]:
    """Play trials on worker processes; yield what they report, and None now and then.

    A process that ends while it plays is replaced, and its trials go on in the new one, one after the other;
    a trial at which the process has ended three times has failed. Closing the iterator stops all processes.

    Args:
        trials: the trials; `Turns` says in which order they are begun.
        place: where they are played.
        server: starts the processes.
        workers: number of processes.
        devices: the torch devices, dealt to the workers in turn.
        side_by_side: number of trials that each process plays at once.
    """
    logs = place.out / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    pending, ended, begun = Turns(trials), Counter[str](), dict[str, float]()
    by_name = {trial.name: trial for trial in trials}
    with selectors.DefaultSelector() as selector:
        children = [
            Child(
                server,
                replace(place, device=devices[number % len(devices)]),
                logs / f"worker-{number + 1}.log",
                side_by_side,
            )
            for number in range(min(workers, len(trials)))
        ]

        def start(child: Child) -> None:
            selector.register(child.start(), selectors.EVENT_READ, child)

        def fill(child: Child) -> None:
            while pending and len(child.trials) < child.room:
                trial = pending.take()
                begun[trial.name] = time.monotonic()
                child.give(trial)

        try:
            for child in children:
                start(child)
                fill(child)
            while any(child.trials for child in children):
                for key, _ in selector.select(_TICK):
                    child = key.data
                    try:
                        for event in child.events():
                            yield event
                            if isinstance(event, Ended):
                                pending.ended(by_name[event.trial], time.monotonic() - begun[event.trial])
                        fill(child)
                    except EOFError as end:
                        selector.unregister(key.fileobj)
                        again, child.trials = list(child.trials.values()), {}
                        if not again:
                            continue  # it had nothing to play, and there is nothing left to give it
                        start(child)
                        if len(again) > 1:  # at which of them it ended is not known
                            child.room = 1
                        else:
                            ended[again[0].name] += 1
                        if ended[again[0].name] >= _ATTEMPTS:
                            yield Ended(again[0].name, f"its process {end}, {_ATTEMPTS} times in a row")
                        else:
                            pending.put_back(again)
                        fill(child)
                yield None
        finally:
            for child in children:
                child.stop()
            for child in children:
                child.wait()
