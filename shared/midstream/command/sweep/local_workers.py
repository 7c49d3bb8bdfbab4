"""Workers on this machine: processes that live as long as the sweep, each with one trial in hand."""

import selectors
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import replace

from midstream.command.sweep.child import Child
from midstream.command.sweep.events import Ended, Event
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial

_TICK = 0.5  # seconds after which a caller gets its turn, even if nothing happened
_ATTEMPTS = 3  # a trial whose process ended this often has failed


def play_on_workers(
    trials: Sequence[Trial], place: Place, *, workers: int, devices: Sequence[str]
) -> Generator[Event | None]:
    """Play trials on worker processes; yield what they report, and None now and then.

    A process that ends while it plays is replaced, and the trial goes on in the new one; after three times
    the trial has failed. Closing the iterator stops all processes.

    Args:
        trials: the trials, in the order in which they are begun.
        place: where they are played.
        workers: number of processes.
        devices: the torch devices, dealt to the workers in turn.
    """
    logs = place.out / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    pending, ended = deque(trials), Counter[str]()
    with selectors.DefaultSelector() as selector:
        children = [
            Child(replace(place, device=devices[number % len(devices)]), logs / f"worker-{number + 1}.log")
            for number in range(min(workers, len(trials)))
        ]

        def start(child: Child) -> None:
            selector.register(child.start(), selectors.EVENT_READ, child)

        try:
            for child in children:
                start(child)
                child.give(pending.popleft())
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
                            child.trial = None
                            if pending:
                                child.give(pending.popleft())
                yield None
        finally:
            for child in children:
                child.stop()
            for child in children:
                child.wait()
