"""A worker: a process that plays one trial after another.

`python -m midstream.command.sweep.worker` reads one JSON object per line on standard input, a trial and its
place, and writes one JSON object per line on standard output: progress, and at the end the trial's failure or
null. It ends with its parent.
"""

import json
import os
import signal
import sys
import time
from typing import TextIO

# Read when torch is first imported: a thread that waits must sleep, since games share the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from midstream.command.games.parent import end_with_parent
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.trial_game import played

_EVERY = 0.5  # seconds between lines of progress


def main() -> None:
    """Play trials until standard input ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a game over HTTP stops its own processes
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a plug-in prints goes to the log
    try:
        for line in sys.stdin:
            _answer(line, answers)
    except KeyboardInterrupt:
        sys.exit(130)


def _answer(line: str, answers: TextIO) -> None:
    job = json.loads(line)
    told = 0.0

    def follow(step: int, total: int, text: str) -> None:
        nonlocal told
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            answers.write(json.dumps({"step": step, "total": total, "text": text}) + "\n")

    reason = played(Trial.of(job["trial"]), Place.of(job["place"]), follow)
    answers.write(json.dumps({"failed": reason}) + "\n")


if __name__ == "__main__":
    main()
