"""The process that workers are copies of: it imports what games need once, and forks a worker when asked to.

`python -m midstream.command.sweep.workers.template` serves the other end of its standard input, a Unix
socket. A request is a number. 0 comes with a worker's standard input, output and error; the answer is the
worker's process id. The id of a worker asks how it ended; the answer is its exit code, or minus the signal
that killed it.

The process computes nothing and touches no GPU, so that a copy is as good as a fresh process. It ends when
the other end of the socket is closed, and its workers end with it.
"""

import os
import socket
import warnings
from collections.abc import Sequence
from importlib import import_module

from midstream.command.games import parent
from midstream.command.sweep.workers import worker
from midstream.command.sweep.workers.fork_server import NUMBER, WORKER

_OF_FIRST_GAME = ("torch.fx.experimental.symbolic_shapes", "PIL.Image")
"""What a first game imports: torch for the check of second derivatives, and for pictures."""


def main() -> None:
    """Serve until the other end is closed; in a worker, play what it is given."""
    for name in _OF_FIRST_GAME:
        import_module(name)
    with socket.socket(fileno=os.dup(0)) as asking:
        forked = _serve(asking)
    if forked:
        worker.main()


def _serve(asking: socket.socket) -> bool:
    """Answer requests; return whether this process is a worker."""
    while True:
        request, descriptors, *_ = socket.recv_fds(asking, NUMBER.size, 3)
        if len(request) < NUMBER.size:
            return False
        (number,) = NUMBER.unpack(request)
        if number == WORKER:
            number = _fork(descriptors)
            if number == 0:
                return True
            for descriptor in descriptors:
                os.close(descriptor)
            answer = number
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        try:
            asking.sendall(NUMBER.pack(answer))
        except OSError:  # the other end was closed meanwhile
            return False


def _fork(descriptors: Sequence[int]) -> int:
    """Return the id of a copy of this process; in the copy, take its files and return 0."""
    own = os.getpid()
    with warnings.catch_warnings():
        # OpenBLAS has started threads; it stops them around a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number == 0:
        os.setsid()
        for standard, descriptor in enumerate(descriptors):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        os.environ[parent.VARIABLE] = str(own)
    return number


if __name__ == "__main__":
    main()
