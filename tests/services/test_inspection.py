"""What `midstream inspect` and `midstream compare` say of runs is what their metrics hold."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from midstream.storage.run_folder import read_metrics
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services.conftest import Ended
from services.games import in_one_process
from services.loopback import served, unused_url
from services.tiny import STEPS, TinyRun

Midstream = Callable[..., Ended]


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("games")
    in_one_process(out, "influence,max_iterations=3", "level-2", name="deep", target=3)
    in_one_process(out, "level-1", "none", name="plain")
    return out


def inspected(midstream: Midstream, place: object, *options: str) -> dict[str, Any]:
    ended = midstream("inspect", str(place), "--json", *options)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def refused(ended: Ended, code: int) -> str:
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    return ended.err


def test_a_runs_numbers_are_those_of_its_files(midstream: Midstream, games: Path) -> None:
    found = inspected(midstream, games / "deep")
    records = read_metrics(games / "deep")
    assert (found["state"], found["steps"]) == ("finished", STEPS)
    assert (found["attacker"], found["defender"]) == ("influence,max_iterations=3", "level-2")
    corrections = [record["correction"] for record in records]
    assert found["correction"]["share_of_budget"] == pytest.approx(fmean(corrections) / 1.5)
    assert 0 < found["correction"]["share_of_budget"] <= 1
    assert found["correction"]["largest"] == max(corrections)
    assert found["seconds_per_step"]["in_all"] == pytest.approx(sum(record["seconds"] for record in records))
    assert [point["step"] for point in found["learning_curve"]] == [3, 6]
    for point in found["learning_curve"]:
        assert point == {name: records[point["step"] - 1][name] for name in point}
    assert found["best"]["test_accuracy"] == max(p["test_accuracy"] for p in found["learning_curve"])
    assert found["reports"]["attacker"]["cg_iterations"]["last"] == records[-1]["attacker"]["cg_iterations"]
    assert found["reports"]["defender"]["pgd_steps"]["mean"] == fmean(
        record["defender"]["pgd_steps"] for record in records
    )
    for name in ("result", "specification", "environment"):
        assert found[name] == json.loads((games / f"deep/{name}.json").read_text())


def test_a_person_reads_the_same(midstream: Midstream, games: Path) -> None:
    ended = midstream("inspect", str(games / "deep"))
    numbers = inspected(midstream, games / "deep")
    last = numbers["learning_curve"][-1]
    assert f"{games / 'deep'}: finished, 6 steps" in ended.out
    assert "attacker: influence,max_iterations=3, ε = 1.5 (l2)" in ended.out
    assert f"used {numbers['correction']['share_of_budget']:.1%} of its budget" in ended.out
    assert f"test accuracy {last['test_accuracy']:.4f} at step 6" in ended.out
    assert numbers["result"]["parameters_sha256"] in ended.out
    assert f"{last['conversion_rate']:.4f}" in ended.out
    assert "validation_size 40" in ended.out
    assert ended.err == ""


def test_a_game_without_a_defence_used_nothing(midstream: Midstream, games: Path) -> None:
    assert inspected(midstream, games / "plain")["correction"]["share_of_budget"] == 0


@pytest.mark.parametrize("steps", [0, 4])
def test_an_unfinished_run(midstream: Midstream, games: Path, tmp_path: Path, steps: int) -> None:
    shutil.copytree(games / "deep", tmp_path / "deep")
    (tmp_path / "deep/result.json").unlink()
    lines = (tmp_path / "deep/metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "deep/metrics.jsonl").write_text("".join(lines[:steps]))
    found = inspected(midstream, tmp_path / "deep")
    assert (found["state"], found["steps"], found["result"]) == ("unfinished", steps, None)
    assert len(found["learning_curve"]) == steps // 3
    ended = midstream("inspect", str(tmp_path / "deep"), "--plot", str(tmp_path / "deep.png"))
    assert ended.code == 0, ended.err
    assert ("no evaluation yet" in ended.out) == (steps == 0)


ALTERED = {
    "result.json": lambda text: text.replace('"test_accuracy": ', '"test_accuracy": 1'),
    "metrics.jsonl": lambda text: text.replace('"loss": ', '"loss": 1', 1),
    "specification.json": lambda text: text.replace('"learning_rate": ', '"learning_rate": 1'),
    "environment.json": lambda text: text.replace('"threads": ', '"threads": 1'),
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_finished_run_that_was_altered_is_refused_by_name(
    midstream: Midstream, games: Path, tmp_path: Path, name: str
) -> None:
    path = Path(shutil.copytree(games / "deep", tmp_path / "deep")) / name
    text = path.read_text()
    path.write_text(ALTERED[name](text))
    for words in (["inspect", path.parent], ["compare", path.parent, games / "plain"]):
        assert f"{path} was altered since" in refused(midstream(*map(str, words)), 1)
    if name != "result.json":
        path.unlink()
        assert name in refused(midstream("inspect", str(path.parent)), 2 if name[0] == "s" else 1)


def test_a_run_on_a_server_is_told_alike(midstream: Midstream, registry: Registry) -> None:
    with served(make_app(registry)) as url:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            run = TinyRun(client, defender="level-1")
            run.play(0, 4)
            run.until_recorded(4)
            assert inspected(midstream, f"{url}/v1/runs/tiny")["state"] == "running"
            run.play(4)
            run.until("finished")
            there = inspected(midstream, f"{url}/v1/runs/tiny")
        here = inspected(midstream, registry.runs["tiny"].recorded.folder.path)
        assert there | {"run": None, "environment": None} == here | {"run": None, "environment": None}
        assert "no run 'tyni'" in refused(midstream("inspect", f"{url}/v1/runs/tyni"), 1)
        assert "/v1/runs/NAME" in refused(midstream("inspect", url), 2)


def test_what_is_no_run_is_said(midstream: Midstream, games: Path) -> None:
    assert "is not a folder" in refused(midstream("inspect", str(games / "deeep")), 2)
    told = refused(midstream("inspect", str(games)), 2)
    assert f"{games / 'deep'}, {games / 'plain'}" in told
    with unused_url() as url:
        assert "has not answered" in refused(midstream("inspect", f"{url}/v1/runs/tiny"), 1)


def test_the_picture_is_drawn(midstream: Midstream, games: Path, tmp_path: Path) -> None:
    one, both = tmp_path / "one.png", tmp_path / "both.png"
    assert midstream("inspect", str(games / "deep"), "--plot", str(one)).code == 0
    assert midstream("compare", *map(str, games.iterdir()), "--plot", str(both)).code == 0
    with Image.open(one) as first, Image.open(both) as second:
        assert first.size == second.size
        assert (np.asarray(first.convert("RGB")) != np.asarray(second.convert("RGB"))).any()
    assert "xyz" in refused(midstream("inspect", str(games / "deep"), "--plot", str(tmp_path / "a.xyz")), 1)


def test_tensorboard_reads_what_the_metrics_hold(midstream: Midstream, games: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ("compare", str(games / "deep"), str(games / "plain"), "--tensorboard", str(tmp_path / "tb"))
    ended = midstream(*arguments)
    assert ended.code == 0, ended.err
    for name in ("deep", "plain"):
        events = EventAccumulator(str(tmp_path / "tb" / name)).Reload()
        records = read_metrics(games / name)
        expected: dict[str, dict[int, float]] = {}
        for record in records:
            for key, value in record.items():
                several = value if isinstance(value, dict) else {"": value}
                for reported, number in several.items():
                    tag = f"{key}/{reported}" if reported else key
                    if number is not None and tag not in ("step", "epoch"):
                        expected.setdefault(tag, {})[record["step"]] = number
        assert set(events.Tags()["scalars"]) == expected.keys()
        for tag, values in expected.items():
            read = {event.step: event.value for event in events.Scalars(tag)}
            assert read == pytest.approx(values, rel=1e-6), tag
        losses = [event.wall_time for event in events.Scalars("loss")]
        assert losses[-1] == pytest.approx(sum(record["seconds"] for record in records))
        assert [event.step for event in events.Images("samples")] == [1, 4]
        assert "validation_size" in str(events.Tensors("specification/text_summary"))
    assert "already holds event files" in refused(midstream(*arguments), 1)


def test_tensorboard_is_asked_for_where_it_is_missing(
    midstream: Midstream, games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    ended = midstream("inspect", str(games / "deep"), "--tensorboard", str(tmp_path))
    assert "pip install 'midstream[tensorboard]'" in refused(ended, 1)


def test_runs_are_compared_by_what_differs(midstream: Midstream, games: Path) -> None:
    ended = midstream("compare", str(games / "deep"), str(games / "plain"), "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["differences"] == {
        "attacker": {"deep": "influence,max_iterations=3", "plain": "level-1"},
        "defender": {"deep": "level-2", "plain": "none"},
        "target": {"deep": 3, "plain": None},
    }
    assert found["runs"]["deep"] == inspected(midstream, games / "deep")
    table = midstream("compare", str(games / "deep"), str(games / "plain")).out
    lines = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    for name in ("deep", "plain"):
        accuracy = found["runs"][name]["learning_curve"][-1]["test_accuracy"]
        assert f"{accuracy:.4f}" in lines[name]
    assert "influence,max_iterations=3" in lines["deep"]


def test_runs_of_one_name_are_told_apart(midstream: Midstream, games: Path, tmp_path: Path) -> None:
    shutil.copytree(games / "deep", tmp_path / "deep")
    ended = midstream("compare", str(games / "deep"), str(tmp_path / "deep"), "--json")
    assert json.loads(ended.out)["runs"].keys() == {str(games / "deep"), str(tmp_path / "deep")}
    assert json.loads(ended.out)["differences"] == {}
    assert "given twice" in refused(midstream("compare", *[str(games / "deep")] * 2), 2)
    assert "two runs" in refused(midstream("compare", str(games / "deep")), 2)


def test_runs_of_several_seeds_are_one_row(midstream: Midstream, games: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        in_one_process(tmp_path, "level-1", "none", name=f"plain-{seed}", seed=seed)
    runs = [str(games / "plain"), str(tmp_path / "plain-1"), str(games / "deep"), str(tmp_path / "plain-2")]
    found = json.loads(midstream("compare", *runs, "--json").out)
    plain, deep = found["groups"]
    assert (plain["runs"], plain["seeds"], deep["runs"]) == (
        ["plain", "plain-1", "plain-2"],
        [0, 1, 2],
        ["deep"],
    )
    ends = [found["runs"][name]["learning_curve"][-1]["test_accuracy"] for name in plain["runs"]]
    assert plain["test_accuracy"]["mean"] == pytest.approx(np.mean(ends))
    assert plain["test_accuracy"]["deviation"] == pytest.approx(np.std(ends, ddof=1))
    table = midstream("compare", *runs, "--plot", str(tmp_path / "plot.svg")).out
    assert f"{np.mean(ends):.4f} ± {np.std(ends, ddof=1):.4f}" in table
    assert "plain and 2 more, seeds 0, 1, 2" in (tmp_path / "plot.svg").read_text()
    each = midstream("compare", *runs, "--each").out
    assert all(f"{end:.4f} " in each for end in ends)
    assert "±" not in each
