"""The marker `process` is needed to start one."""

import subprocess
import sys
from multiprocessing import get_context

import pytest

HELLO = [sys.executable, "-c", "print('hello')"]


def test_an_unmarked_test_starts_no_process() -> None:
    with pytest.raises(pytest.fail.Exception, match="test_an_unmarked_test_starts_no_process starts"):
        subprocess.run(HELLO, check=True)
    with pytest.raises(pytest.fail.Exception, match=r"mark it with pytest\.mark\.process"):
        get_context("forkserver").Process(target=print).start()


@pytest.mark.process
def test_a_marked_one_does() -> None:
    assert subprocess.run(HELLO, check=True, capture_output=True, text=True).stdout == "hello\n"
