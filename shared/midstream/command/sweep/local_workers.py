"""Workers on this machine: processes that live as long as the sweep, each with one trial in hand."""

import selectors
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace

from midstream.command.sweep.child import Child
from midstream.command.sweep.events import Ended, Event
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.turns import Turns

_TICK = 0.5  # seconds after which a caller gets its turn, even if nothing happened
_ATTEMPTS = 3  # a trial whose process ended this often has failed


def play_on_workers(
    trials: Sequence[Trial], place: Place, *, workers: int, devices: Sequence[str]
) -> Generator[Event | None]:
    """Play trials on worker processes; yield what they report, and None now and then.

    A process that ends while it plays is replaced, and the trial goes on in the new one; after three times
    the trial has failed. Closing the iterator stops all processes.

    Args:
        trials: the trials; `Turns` says in which order they are begun.
        place: where they are played.
        workers: number of processes.
        devices: the torch devices, dealt to the workers in turn.
    """
    logs = place.out / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    pending, ended, begun = Turns(trials), Counter[str](), dict[str, float]()
    with selectors.DefaultSelector() as selector:
        children = [
            Child(replace(place, device=devices[number % len(devices)]), logs / f"worker-{number + 1}.log")
            for number in range(min(workers, len(trials)))
        ]

        def start(child: Child) -> None:
            selector.register(child.start(), selectors.EVENT_READ, child)

        def begin(child: Child) -> None:
            trial = pending.take()
            begun[trial.name] = time.monotonic()
            child.give(trial)

        try:
            for child in children:
                start(child)
                begin(child)
            while any(child.trial for child in children):
                for key, _ in selector.select(_TICK):
                    child = key.data
                    try:
                        events = list(child.events())
                    except EOFError as end:
                        selector.unregister(key.fileobj)
                        if child.trial is None:
                            continue  # it had nothing to play, and there is nothing left to give it
                        again = child.trial
                        ended[again.name] += 1
                        start(child)
                        if ended[again.name] < _ATTEMPTS:
                            child.give(again)
                            continue
                        events = [Ended(again.name, f"its process {end}, {_ATTEMPTS} times in a row")]
                    for event in events:
                        yield event
                        if isinstance(event, Ended):
                            assert child.trial is not None
                            pending.ended(child.trial, time.monotonic() - begun[event.trial])
                            child.trial = None
                            if pending:
                                begin(child)
                yield None
        finally:
            for child in children:
                child.stop()
            for child in children:
                child.wait()
