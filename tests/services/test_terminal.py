"""Bars and colours at a terminal, no colours where NO_COLOR asks for none, and plain lines anywhere else."""

import contextlib
import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from midstream.console import progress
from services.conftest import Ended
from services.waiting import until

_COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]")

Midstream = Callable[..., Ended]


class Terminal:
    """A terminal that knows colours, to be put in the place of a standard stream."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w")
        self._seen = b""
        # A terminal holds few unread bytes; whoever writes more waits for a reader.
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while piece := os.read(self._ours, 65536):
                self._seen += piece

    def shown(self) -> str:
        """Return what was written since the last call."""
        self.stream.write("\0")
        self.stream.flush()
        until(lambda: self._seen.endswith(b"\0"), "the terminal to show it")
        shown, self._seen = self._seen[:-1], b""
        return shown.decode()

    def close(self) -> None:
        self.stream.close()
        self._reader.join()
        os.close(self._ours)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def play(midstream: Midstream, tmp_path: Path) -> Callable[[], Ended]:
    """Return a function that plays a game of six steps."""
    size = ["--train-size", "25", "--validation-size", "40", "--batch-size", "10", "--epochs", "2"]

    def run() -> Ended:
        ended = midstream(
            "play", *size, "--transport", "local", "--threads", "1", "--out", str(tmp_path), "--json"
        )
        assert ended.code == 0, ended.err
        return ended

    return run


def test_a_coloured_bar_at_a_terminal(
    play: Callable[[], Ended], terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    play()
    shown = terminal.shown()
    assert "6/6" in shown
    assert _COLOUR.search(shown)


def test_a_bar_without_colours_where_none_are_wanted(
    play: Callable[[], Ended], terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    play()
    shown = terminal.shown()
    assert "6/6" in shown
    assert not _COLOUR.search(shown)


def test_plain_lines_where_there_is_no_terminal(
    play: Callable[[], Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    ended = play()
    assert "step 6 of 6" in ended.err
    assert "\x1b" not in ended.err + ended.out
    assert "\r" not in ended.err


def test_tables_are_plain_without_colours(
    play: Callable[[], Ended],
    midstream: Midstream,
    terminal: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play()
    play()
    runs = [str(path) for path in tmp_path.iterdir()]
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    for words in (("compare", *runs), ("inspect", runs[0]), ("--help",), ("play", "--list")):
        assert midstream(*words).code == 0
        shown = terminal.shown()
        assert "\n" in shown
        assert not _COLOUR.search(shown)
