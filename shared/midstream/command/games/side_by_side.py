"""Several games in one process, in turns: while the device computes a step of one, the others go on.

A game is a generator that yields whenever others may have a turn. On a GPU each game has a stream, so the
device computes steps of several games at a time. Threads and precision are settings of the process; each game
has its own during its turns.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar

import torch

from midstream.run.process.precision import Setting, restore, setting

T = TypeVar("T")
Key = TypeVar("Key")
Result = TypeVar("Result")


def ended(game: Generator[None, None, T]) -> T:
    """Play a game alone, and return its result.

    >>> def game():
    ...     yield
    ...     return 7
    >>> ended(game())
    7
    """
    while True:
        try:
            next(game)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


class SideBySide(Generic[Key, Result]):
    """Plays games in turns, in one thread.

    >>> def game(result, turns):
    ...     for _ in range(turns):
    ...         yield
    ...     return result
    >>> games = SideBySide[str, int]()
    >>> games.add("long", game(1, 2), torch.device("cpu"))
    >>> games.add("short", game(2, 1), torch.device("cpu"))
    >>> [list(games.turn()) for _ in range(3)]
    [[], [('short', 2)], [('long', 1)]]
    """

    def __init__(self) -> None:
        self._games: dict[Key, tuple[Generator[None, None, Result], _Settings]] = {}

    def __len__(self) -> int:
        return len(self._games)

    def add(self, key: Key, game: Generator[None, None, Result], device: torch.device) -> None:
        """Add a game, which is begun at the next turn.

        Args:
            key: its name.
            game: the game; what it returns is its result.
            device: where it is played.
        """
        self._games[key] = game, _Settings(device)

    def turn(self) -> Iterator[tuple[Key, Result]]:
        """Give each game one turn, and yield those that have ended, with their results."""
        for key, (game, own) in list(self._games.items()):
            try:
                with own.in_force():
                    next(game)
            except StopIteration as stop:
                del self._games[key]
                yield key, stop.value

    def close(self) -> None:
        """Close all games, each with its settings."""
        with ExitStack() as stack:
            for game, own in self._games.values():
                stack.callback(self._close, game, own)
            self._games = {}

    @staticmethod
    def _close(game: Generator[None, None, Result], own: "_Settings") -> None:
        with own.in_force():
            game.close()


class _Settings:
    """What one of several games has changed in this process: threads, precision, and the stream."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._own: tuple[int, Setting] | None = None

    @contextmanager
    def in_force(self) -> Iterator[None]:
        before = torch.get_num_threads(), setting()
        _set(self._own or before)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._own = torch.get_num_threads(), setting()
            _set(before)


def _set(chosen: tuple[int, Setting]) -> None:
    threads, precision = chosen
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    restore(precision)
