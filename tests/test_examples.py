"""The examples do what they say, each in a short game."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from midstream.command.bench.bench import check_player
from midstream.command.bench.game import Role
from midstream.command.main import cli

pytestmark = [pytest.mark.process, pytest.mark.slow]

EXAMPLES = Path(__file__).parent.parent / "examples"
RANDOM = f"{EXAMPLES}/random_attacker.py:RandomAttacker"
DISGUISE = f"{EXAMPLES}/disguise.py:Disguise"
NEIGHBOUR = f"{EXAMPLES}/neighbour.py:Neighbour"
RESIDUAL = f"{EXAMPLES}/residual.py:residual,width=8"
STRIPES = f"{EXAMPLES}/stripes.py:stripes"

SHORT = ["--transport", "local", "--threads", "1", "--epochs", "10", "--lr", "0.003", "--json"]

Play = Callable[..., float]


@pytest.fixture
def play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    def accuracy(*words: str, attacker: str = "none", defender: str = "none") -> float:
        players = ["--attacker", attacker, "--defender", defender, "--out", str(tmp_path)]
        cli.main(["play", *SHORT, *players, *words], standalone_mode=False)
        result: float = json.loads(capsys.readouterr().out)["test_accuracy"]
        return result

    return accuracy


@pytest.mark.parametrize(
    ("side", "text"),
    [
        ("attacker", RANDOM),
        ("attacker", DISGUISE),
        ("attacker", f"{DISGUISE},shift=3"),
        ("defender", NEIGHBOUR),
        ("defender", f"{NEIGHBOUR},count=5"),
    ],
)
def test_the_players_pass_the_bench_and_only_noise_has_no_effect(side: Role, text: str) -> None:
    *rules, effect = check_player(side, text)
    assert all(check.outcome in ("passed", "note") for check in rules), rules
    assert effect.outcome == ("note" if text == RANDOM else "passed")


def test_the_disguise_hurts_where_noise_of_its_size_does_not_and_the_neighbour_helps(play: Play) -> None:
    clean = play()
    assert clean > 0.9
    assert play(attacker=RANDOM) > clean - 0.05
    assert play(attacker=DISGUISE) < 0.5
    assert play(attacker=DISGUISE, defender=NEIGHBOUR) > 0.85


def test_a_model_and_a_data_set_of_ones_own(play: Play) -> None:
    stripes = ["--dataset", STRIPES, "--validation-size", "100", "--batch-size", "50", "--epsilon", "1.5"]
    clean = play("--model", RESIDUAL, *stripes)
    assert clean > 0.95
    assert play("--model", RESIDUAL, *stripes, attacker=DISGUISE) < clean - 0.1


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)  # as `python examples/fabric_loop.py` has it
    monkeypatch.delitem(sys.modules, "training_loop", raising=False)


@pytest.mark.usefixtures("loops")
def test_the_defender_in_a_loop() -> None:
    from training_loop import train

    assert train(attacked=False, defended=False, epochs=10) > 0.9
    assert train(attacked=True, defended=False, epochs=10) < 0.3
    assert train(attacked=True, defended=True, epochs=10) > 0.8


@pytest.mark.usefixtures("loops")
def test_the_defender_in_a_fabric_loop() -> None:
    from fabric_loop import train
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    assert train(fabric, defended=False, epochs=10) < 0.3
    assert train(fabric, defended=True, epochs=10) > 0.8


@pytest.mark.usefixtures("loops")
def test_a_game_in_steps(tmp_path: Path) -> None:
    from game_in_steps import taken_back

    cosines = taken_back(tmp_path, steps=20)
    assert len(cosines) == 20
    assert max(cosines) < -0.5


def test_the_notebook_runs_and_is_kept_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "three_games.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": EXAMPLES}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    clean, attacked, defended = (float(line.split()[-1]) for line in printed.splitlines())
    assert attacked < 0.5 < 0.85 < defended < clean
    shown = [output["data"] for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 2
    assert sum("<polyline" in data.get("text/html", "") for data in shown) == 1
