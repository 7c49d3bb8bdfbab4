"""The processes that a command starts: where they import from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from midstream.web import children
from midstream.web.children import Children

pytestmark = pytest.mark.process


@pytest.mark.parametrize("own", [False, True])
def test_they_import_from_the_current_folder_only_if_this_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('it was imported')\n")
    monkeypatch.setattr(children, "subprocess", subprocess)  # a new Python, not a copy of one
    monkeypatch.chdir(tmp_path)
    if own:
        monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path != str(tmp_path)))
    started = Children(tmp_path / "logs")
    started.start("command", "--version")
    started._children["command"].wait(60)
    assert (started.last_words("command") == "it was imported") == own
    assert (", version " in started.last_words("command")) == (not own)
