"""What a process imports before it works: help and completion need no torch, and a game no compiler."""

import ast
import inspect
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import midstream
from midstream.run.process.without_compiler import _Deferred

_HELP = """
import sys
from click.shell_completion import ShellComplete
from midstream.command.main import cli

def words(command, before=()):
    yield before
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            if before != ("figure",):
                yield from words(command.get_command(context, name), (*before, name))

context = cli.make_context("midstream", [], resilient_parsing=True)
for before in words(cli):
    try:
        cli.main([*before, "--help"], standalone_mode=False)
    except SystemExit:
        pass
asked = ShellComplete(cli, {}, "midstream", "_MIDSTREAM_COMPLETE")
assert "level-1" in [item.value for item in asked.get_completions(["play", "--attacker"], "")]
slow = {"torch", "numpy", "fastapi", "pydantic", "httpx", "rich", "matplotlib"}
print("slow:", sorted(slow & {*sys.modules}))
"""

_GAME = """
import sys
from midstream.command.main import main
from midstream.command.sweep.grid import trials_of

trials_of([{"optimizer": "adam"}])
main(sys.argv[1:])
print("slow:", [name for name in ("torch._dynamo.eval_frame", "sklearn", "scipy") if name in sys.modules])

import torch

@torch.compiler.disable(recursive=False)
def one_more(x):
    return x + 1

doubled = torch.compile(lambda x: 2 * one_more(x), backend="eager")
optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
optimizer.zero_grad()
optimizer.step()
print("compiled:", doubled(torch.ones(1)).item(), "torch._dynamo.eval_frame" in sys.modules)
"""


def _printed(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.process
def test_help_and_completion_import_no_slow_library() -> None:
    printed = _printed(_HELP)
    assert "--attacker" in printed
    assert printed.splitlines()[-1] == "slow: []"


@pytest.mark.process
def test_a_game_imports_torchs_compiler_only_if_something_compiles(tmp_path: Path) -> None:
    options = ["--dataset", "digits", "--transport", "local", "--max-steps", "2", "--out", str(tmp_path)]
    *_, slow, compiled = _printed(_GAME, "play", "--attacker", "level-2", *options).splitlines()
    assert slow == "slow: []"
    assert compiled == "compiled: 4.0 True"


def test_optimizers_go_on_while_another_thread_imports_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("torch._dynamo")
    half.__spec__ = ModuleSpec(half.__name__, None)
    vars(half.__spec__)["_initializing"] = True
    monkeypatch.setitem(sys.modules, half.__name__, half)
    assert _Deferred().disable(len, wrapping=False)([1, 2]) == 2


def test_every_public_name_can_be_used() -> None:
    public = {name: getattr(midstream, name) for name in midstream.__all__}
    assert None not in public.values()
    assert {*midstream.__all__} <= {*dir(midstream)}
    with pytest.raises(AttributeError, match="'nothing'"):
        midstream.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_names_are_loaded_from_where_type_checkers_find_them() -> None:
    tree = ast.parse(inspect.getsource(midstream))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    assert {node.module: tuple(name.name for name in node.names) for node in imports} == midstream._HOMES
    assert sorted(name for names in midstream._HOMES.values() for name in names) == sorted(midstream.__all__)
