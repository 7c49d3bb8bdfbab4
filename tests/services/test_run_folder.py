"""What a game prints and what it leaves in its folder, which is enough to repeat it."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import safetensors.torch
import yaml
from PIL import Image

from midstream.protocol.wire import tensors_sha256
from services.commands import Command
from services.conftest import Ended
from services.waiting import until

pytestmark = pytest.mark.process

GAME = ["--attacker", "level-1,beta=0.5", "--defender", "level-1", "--seed", "3", "--threads", "1"]
GAME += ["--attack-epsilon", "0.2", "--attack-norm", "linf", "--gradient", "own"]
SIZE = ["--train-size", "250", "--validation-size", "100", "--epochs", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games")


@pytest.fixture(scope="module")
def played(folder: Path) -> Iterator[Command]:
    # To the server or the proxy alone these would say: start a run, attack only that one.
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MIDSTREAM_DATASET", "digits")
        environment.setenv("MIDSTREAM_RUN", "game")
        command = Command(folder, "play", *GAME, *SIZE, "--json", fresh=True)
    with command:
        assert command.end() == 0, command.err
        yield command


@pytest.fixture
def outcome(played: Command) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(played.out)
    return found


def test_one_json_object_is_printed_and_nothing_else(played: Command, outcome: dict[str, Any]) -> None:
    assert len(played.out.splitlines()) == 1
    assert list(outcome) == [
        *("run", "dataset", "attacker", "defender", "attack_epsilon", "attack_norm", "access"),
        *("epsilon", "norm", "pixel_range", "seed", "steps", "epochs", "test_accuracy", "validation_loss"),
        *(
            "conversion_rate",
            "evasion_rate",
            "passed_clean",
            "resumed_anyway",
            "checker",
            "parameters_sha256",
            "seconds",
        ),
    ]
    assert outcome["run"] == "runs/game"
    assert (outcome["dataset"], outcome["attacker"], outcome["defender"]) == (
        "digits",
        "level-1,beta=0.5",
        "level-1",
    )
    assert (outcome["attack_epsilon"], outcome["attack_norm"]) == (0.2, "linf")
    assert (outcome["epsilon"], outcome["norm"]) == (1.5, "l2")
    assert (outcome["seed"], outcome["steps"], outcome["epochs"]) == (3, 6, 2)
    assert 0 <= outcome["test_accuracy"] <= 1
    assert outcome["validation_loss"] > 0
    assert outcome["conversion_rate"] is outcome["evasion_rate"] is None
    assert outcome["seconds"] > 0


@pytest.mark.usefixtures("played")
def test_the_folder_holds_what_is_promised(folder: Path, outcome: dict[str, Any]) -> None:
    run = folder / "runs/game"
    assert list((folder / "runs").iterdir()) == [run]
    assert {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} == {
        *("specification.json", "environment.json", "scenario.yaml", "result.json"),
        *(
            "metrics.jsonl",
            "checkpoint.safetensors",
            *(f"samples/000000{seq}.{kind}" for seq in (0, 3) for kind in ("png", "json")),
            "samples/mistakes.json",
        ),
        *("server.log", "proxy.log", "provider.log"),
    }
    specification = json.loads((run / "specification.json").read_text())
    assert (specification["train_size"], specification["seed"], specification["epsilon"]) == (250, 3, 1.5)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["threads"] == 1
    assert environment["torch"]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    result = json.loads((run / "result.json").read_text())
    assert result["parameters_sha256"] == outcome["parameters_sha256"]
    with Image.open(io.BytesIO((run / "samples/0000003.png").read_bytes())) as picture:
        assert picture.format == "PNG"


@pytest.mark.usefixtures("played")
def test_the_checkpoint_is_the_parameters_at_the_end(folder: Path, outcome: dict[str, Any]) -> None:
    tensors = safetensors.torch.load_file(folder / "runs/game/checkpoint.safetensors")
    model = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
    assert tensors_sha256(model) == outcome["parameters_sha256"]


@pytest.mark.usefixtures("played")
def test_the_scenario_repeats_the_game_in_one_process_to_the_same_bits(
    folder: Path, outcome: dict[str, Any], midstream: Callable[..., Ended]
) -> None:
    scenario = folder / "runs/game/scenario.yaml"
    settings = yaml.safe_load(scenario.read_text())
    assert (settings["attacker"], settings["gradient"]) == ("level-1,beta=0.5", "own")
    here = ["--transport", "local", "--gradient", "server", "--out", str(folder / "again")]
    again = midstream("play", str(scenario), *here, "--json")
    assert again.code == 0, again.err
    repeated = json.loads(again.out)
    for key in set(outcome) - {"run", "seconds"}:
        assert repeated[key] == outcome[key], key


@pytest.mark.usefixtures("played")
def test_a_folder_is_never_played_into_twice(folder: Path, midstream: Callable[..., Ended]) -> None:
    before = (folder / "runs/game/result.json").read_bytes()
    out = str(folder / "runs")
    taken = midstream("play", *GAME, *SIZE, "--out", out, "--run", "game", "--transport", "local")
    assert taken.code == 1
    assert "--run" in taken.err
    unnamed = [midstream("play", *GAME, *SIZE, "--out", out, "--transport", "local") for _ in range(2)]
    assert [ended.code for ended in unnamed] == [0, 0]
    assert len(list((folder / "runs").iterdir())) == 3
    assert (folder / "runs/game/result.json").read_bytes() == before


def test_an_interrupted_game_leaves_no_process(tmp_path: Path) -> None:
    with Command(tmp_path, "play", "--run", "long", "--epochs", "100000", "--threads", "1") as command:
        log = tmp_path / "runs/long/server.log"
        until(lambda: log.exists() and "test accuracy" in log.read_text(), "an epoch to be over")
        url = re.findall(r"http://[\d.:]+", log.read_text())[0]
        httpx.get(f"{url}/health/live", trust_env=False).raise_for_status()
        assert command.interrupt() == 130
        assert command.err.splitlines()[-1] == "midstream: interrupted"
        assert command.out == ""
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health/live", trust_env=False)
        for name in ("server", "proxy", "provider"):
            assert "Traceback" not in (tmp_path / f"runs/long/{name}.log").read_text()
