"""`midstream robustness`: the model is the run's own, and what is no finished run is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from midstream.attacks.adversarial.cw import Search
from midstream.attacks.robustness import robustness
from midstream.mathematics.seeds import permutation
from midstream.networks.classifiers import digits_cnn
from midstream.run import datasets
from midstream.storage.run_folder import RunFolder
from midstream.storage.seal import digest, sealed
from services.conftest import Ended
from services.games import in_one_process

pytestmark = pytest.mark.slow

Midstream = Callable[..., Ended]
SIZED = {"train_size": 1000, "batch_size": 334, "lr": 0.01}  # six steps that learn something
QUICK = ("--device", "cpu", "--threads", "1", "--cw-iterations", "60", "--cw-examples", "10")


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("games")
    in_one_process(out, "none", "level-1", name="plain", **SIZED)
    in_one_process(out, "none", "none", name="hidden", access="black-box", **SIZED)
    return out


@pytest.fixture
def copied(games: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(games / "plain", tmp_path / "plain"))


def found(midstream: Midstream, folder: Path, *options: str) -> dict[str, Any]:
    ended = midstream("robustness", str(folder), "--json", *QUICK, *options)
    assert ended.code == 0, ended.err
    result: dict[str, Any] = json.loads(ended.out)
    return result


def refused(ended: Ended) -> str:
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.err
    return ended.err


def test_the_model_is_the_runs_and_the_images_are_its_test_set(midstream: Midstream, games: Path) -> None:
    numbers = found(midstream, games / "plain", "--epsilon", "0.05")
    result = json.loads((games / "plain/result.json").read_text())
    assert numbers["clean"] == numbers["test_accuracy"] == pytest.approx(result["test_accuracy"])
    assert (numbers["attacker"], numbers["defender"], numbers["dataset"]) == ("none", "level-1", "digits")

    model = digits_cnn((1, 8, 8), 10)
    checkpoint = load_file(games / "plain/checkpoint.safetensors")
    model.load_state_dict({k[6:]: v for k, v in checkpoint.items() if k.startswith("model.")})
    order = torch.from_numpy(permutation(397, 0, "robustness"))
    test = datasets.load("digits", datasets.Source()).test[order]
    expected = robustness(
        model.eval(), test.inputs, test.labels, epsilon=0.05, cw_inputs=10, search=Search(iterations=60)
    )
    for name in ("inputs", "clean", "yopo", "pgd", "fgsm", "pgd_doubled"):
        assert numbers[name] == pytest.approx(getattr(expected, name), abs=1.01 / 397), name
    assert expected.cw is not None
    assert numbers["cw"]["inputs"] == expected.cw.inputs
    assert numbers["cw"]["median_distance"] == pytest.approx(expected.cw.median_distance, rel=1e-3)
    assert 0 < numbers["pgd"] < numbers["clean"]


def test_a_person_reads_the_same_of_a_black_box_run_that_is_theirs(midstream: Midstream, games: Path) -> None:
    ended = midstream("robustness", str(games / "hidden"), *QUICK, "--examples", "50")
    numbers = found(midstream, games / "hidden", "--examples", "50")
    assert ended.code == 0, ended.err
    assert numbers["inputs"] == 50
    assert numbers["epsilon"] == 0.3
    for name in ("clean", "yopo", "pgd"):
        assert f"{numbers[name]:.3f}" in ended.out
    assert f"{numbers['cw']['median_distance']:.3f}" in ended.out
    assert "L∞, ε = 0.3" in ended.out


def test_cw_can_be_left_out(midstream: Midstream, games: Path) -> None:
    assert found(midstream, games / "plain", "--cw-examples", "0")["cw"] is None


def test_a_run_that_is_not_finished(midstream: Midstream, copied: Path) -> None:
    (copied / "result.json").unlink()
    assert "is not finished: it has 6 recorded steps" in refused(midstream("robustness", str(copied)))


def test_a_folder_that_holds_no_run(midstream: Midstream, tmp_path: Path) -> None:
    assert "is not a run folder" in refused(midstream("robustness", str(tmp_path)))


def test_an_address_has_no_checkpoint(midstream: Midstream) -> None:
    assert "is a URL" in refused(midstream("robustness", "http://127.0.0.1:1/v1/runs/tiny"))


def test_a_checkpoint_that_is_gone_or_another_runs(midstream: Midstream, games: Path, copied: Path) -> None:
    shutil.copy(games / "hidden/checkpoint.safetensors", copied)
    assert "holds parameters that differ from" in refused(midstream("robustness", str(copied)))
    (copied / "checkpoint.safetensors").write_bytes(b"\0" * 100)
    assert "checkpoint.safetensors is damaged" in refused(midstream("robustness", str(copied)))
    (copied / "checkpoint.safetensors").unlink()
    assert "checkpoint.safetensors is missing" in refused(midstream("robustness", str(copied)))


def test_data_that_are_not_there(midstream: Midstream, copied: Path, tmp_path: Path) -> None:
    folder = RunFolder(copied, resumed=True)
    other = folder.read_json("specification.json") | {"dataset": "mnist"}
    folder.write_json("specification.json", other)
    result = {name: value for name, value in folder.read_json("result.json").items() if name != "sha256"}
    files = result["files"] | {"specification.json": digest(other)}
    folder.write_json("result.json", sealed(result | {"files": files}))
    folder.close()
    said = refused(midstream("robustness", str(copied), "--data-root", str(tmp_path / "nowhere")))
    assert "MNIST is not in" in said
    assert "--data-root DIR" in said


def test_a_radius_that_is_none(midstream: Midstream, games: Path) -> None:
    assert "is not a radius" in refused(midstream("robustness", str(games / "plain"), "--epsilon", "-1"))
