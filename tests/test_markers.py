"""How the tests are sorted: by the marker `process`, and into modules that import no other test module."""

import re
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

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


def test_no_test_module_imports_another() -> None:
    found = [
        f"{file.name}: {line}"
        for file in Path(__file__).parent.rglob("*.py")
        for line in file.read_text().splitlines()
        if re.match(r"(from|import) (services\.)?test_|from services import .*\btest_", line)
    ]
    assert found == []
