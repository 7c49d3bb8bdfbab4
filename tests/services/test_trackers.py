"""W&B and MLflow read what a run's metrics hold, without a network; see `test_inspection` for TensorBoard."""

import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from midstream.storage.run_folder import read_metrics
from services.conftest import Ended
from services.games import in_one_process

Midstream = Callable[..., Ended]


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("games")
    in_one_process(out, "evoshift", "level-1", name="one")
    return out / "one"


def points_of(game: Path) -> dict[tuple[str, int], float]:
    """Return every number of the metrics, by name and step."""
    found: dict[tuple[str, int], float] = {}
    for record in read_metrics(game):
        step = int(record.pop("step"))
        for name, value in record.items():
            several = value if isinstance(value, dict) else {"": value}
            for reported, number in several.items():
                if number is not None and name != "epoch":
                    found[f"{name}/{reported}" if reported else name, step] = number
    return found


def logged(content: bytes) -> Iterator[bytes]:
    """Yield the records of an offline run: a log of LevelDB, with 7 bytes in front that name the format.

    Each block of 32 KiB holds fragments, each with a checksum (4 bytes), its length (2) and its kind (1): the
    whole of a record, its first, a middle or its last part.
    """
    assert content.startswith(b":W&B")
    whole, place, block = b"", 7, 32768
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block  # what is left of the block cannot hold a fragment
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


@pytest.mark.process
def test_an_offline_run_of_wandb_holds_the_metrics(
    midstream: Midstream, game: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="W&B is tested where it is installed: pip install 'midstream[wandb]'")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing answers there
    ended = midstream("inspect", str(game), "--wandb", str(tmp_path / "wb"))
    assert ended.code == 0, ended.err
    assert f"wandb sync {tmp_path}/wb/wandb/offline-run-*" in ended.err
    (file,) = (tmp_path / "wb").glob("wandb/offline-run-*/run-*.wandb")
    points: dict[tuple[str, int], float] = {}
    config: dict[str, object] = {}
    name, images = "", 0
    for content in logged(file.read_bytes()):
        record = Record.FromString(content)
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        images += sum('"image-file"' in value for value in items.values())
        for key, value in items.items():
            if not key.startswith(("_", "samples")) and key != "training_seconds":
                points[key, record.history.step.num] = json.loads(value)
        if record.HasField("run"):
            name = record.run.display_name
            config |= {update.key: json.loads(update.value_json) for update in record.run.config.update}
    assert name == "one"
    assert points == pytest.approx(points_of(game))
    assert (config["attacker"], config["defender"], config["seed"]) == ("evoshift", "level-1", 0)
    assert images == len(list((game / "samples").glob("*.png"))) > 0


def test_mlflow_reads_the_metrics_from_a_folder(
    midstream: Midstream, game: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "mlflow", reason="MLflow is tested where it is installed: pip install 'midstream[mlflow]'"
    )
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")  # the command sets both; here they are taken back at the end
    from mlflow.tracking import MlflowClient

    for _ in range(2):  # a second run goes into the same experiment
        ended = midstream("inspect", str(game), "--mlflow", str(tmp_path / "ml"))
        assert ended.code == 0, ended.err
    client = MlflowClient(tracking_uri=(tmp_path / "ml").as_uri())
    experiment = client.get_experiment_by_name("midstream")
    assert experiment is not None
    run, _ = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    assert run.data.params.items() >= {"attacker": "evoshift", "defender": "level-1", "seed": "0"}.items()
    history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    found = {(key, one.step): one.value for key, measured in history.items() for one in measured}
    assert found == pytest.approx(points_of(game))
    images = client.list_artifacts(run.info.run_id, "samples")
    assert len(images) == len(list((game / "samples").glob("*.png"))) > 0
    refused = midstream("inspect", str(game), "--mlflow", "unknown://store")
    assert refused.code == 1
    assert "MLflow refuses unknown://store" in refused.err


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_tracker_is_asked_for_where_it_is_missing(
    package: str, midstream: Midstream, game: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    ended = midstream("inspect", str(game), f"--{package}", str(tmp_path))
    assert ended.code == 1
    assert f"--{package} needs the package" in ended.err
    assert f"pip install 'midstream[{package}]'" in ended.err
