"""Real shells complete commands, options and their values at TAB."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from midstream.command.main import cli

pytestmark = pytest.mark.process

# How a shell is asked for what it offers for one word behind two others, without a terminal.
ASKED = {
    "bash": 'source "$1"; COMP_WORDS=(midstream play --transport loc); COMP_CWORD=3; '
    '_midstream_completion midstream; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": "compdef() { }; source $1; words=(midstream play --transport loc); CURRENT=4; "
    "commands[midstream]=1; compadd() { print -l -- $completions }; _midstream_completion",
    "fish": "source $argv[2]; complete -C 'midstream play --transport loc'",
}


@pytest.mark.parametrize("shell", ASKED)
def test_a_shell_completes_a_value(shell: str, tmp_path: Path) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell} is installed here")
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": search, "HOME": str(tmp_path)}

    def told(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    script = tmp_path / "script"
    script.write_text(told("midstream", "completion", shell))
    assert told(found, "-c", ASKED[shell], "shell", str(script)).split() == ["local"]


@pytest.mark.parametrize(
    ("before", "begun", "offered"),
    [
        ([], "pl", ["play", "plugins"]),
        (["figure"], "", ["3", "6", "8"]),
        (["play"], "--transp", ["--transport"]),
        (["play", "--attacker"], "conv", ["conversion"]),
        (["serve", "--defender"], "optimal-c", ["optimal-contraction"]),
        (["attack", "--surrogate"], "log", ["logistic"]),
        (["play", "--defender"], "level-1+cutm", ["level-1+cutmix"]),
        (
            ["serve", "--defender"],
            "level-1+cutmix,on=both+train",
            ["level-1+cutmix,on=both+train-on-validation"],
        ),
        (["play", "--attacker"], "level-1+noi", []),
        (["play", "--dataset"], "mnist-", ["mnist-1-vs-7"]),
    ],
)
def test_what_is_offered(before: list[str], begun: str, offered: list[str]) -> None:
    asked = ShellComplete(cli, {}, "midstream", "_MIDSTREAM_COMPLETE")
    assert [item.value for item in asked.get_completions(before, begun)] == offered
