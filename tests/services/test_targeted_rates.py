"""What an attack makes of its target class, wherever a run's figures are read."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import torch

from midstream.run.models import build_model
from services.conftest import Ended
from services.tiny import SPECIFICATION, STEPS, TinyRun, problem, split

pytestmark = pytest.mark.slow

RATES = ("conversion_rate", "evasion_rate")
PLUGIN = """
import torch


class Aimed:
    def __init__(self, *, target: str):
        self.target = target

    def perturb(self, batch, view):
        return torch.zeros_like(batch.inputs)
"""


def counted(run: TinyRun, target: int) -> tuple[float, float]:
    """Return both rates at the live parameters, one test input at a time."""
    model = build_model("digits-cnn", (1, 8, 8), 10)
    model.load_state_dict(run.parameters())
    test = split().test
    with torch.no_grad():
        guesses = [int(model(x[None]).argmax()) for x in test.pixels()]
    truths = test.labels.tolist()
    others = [guess for guess, truth in zip(guesses, truths, strict=True) if truth != target]
    own = [guess for guess, truth in zip(guesses, truths, strict=True) if truth == target]
    return others.count(target) / len(others), 1 - own.count(target) / len(own)


def test_a_runs_rates_are_those_of_its_parameters(server: httpx.Client, tmp_path: Path) -> None:
    run = TinyRun(server, target=6, learning_rate=0.01)
    run.play(0)
    status = run.until("finished")
    records = run.until_recorded(STEPS)
    conversion, evasion = counted(run, 6)
    assert conversion > 0  # a model so young takes many a digit for another
    assert 0 < evasion < 1
    assert records[-1]["conversion_rate"] == pytest.approx(conversion)
    assert records[-1]["evasion_rate"] == pytest.approx(evasion)
    for holder in (status, status["result"]):
        assert [holder[rate] for rate in RATES] == [records[-1][rate] for rate in RATES]
    assert status["specification"]["target"] == 6
    unevaluated = [record for record in records if record["test_accuracy"] is None]
    assert unevaluated
    assert all(record[rate] is None for record in unevaluated for rate in RATES)
    rows = list(csv.DictReader(io.StringIO(run.get("/metrics", params={"format": "csv"}).text)))
    assert [float(rows[-1][rate]) for rate in RATES] == [records[-1][rate] for rate in RATES]
    counters = server.get("/metrics").text
    assert all(f'midstream_{rate}{{run="tiny"}} {status[rate]}' in counters for rate in RATES)
    lines = (tmp_path / "runs/tiny/metrics.jsonl").read_text().splitlines()
    assert [json.loads(lines[-1])[rate] for rate in RATES] == [records[-1][rate] for rate in RATES]


def test_without_a_target_they_are_null(run: TinyRun) -> None:
    run.play(0)
    status = run.until("finished")
    for holder in (status, status["result"], run.until_recorded(STEPS)[-1]):
        assert [holder[rate] for rate in RATES] == [None, None]
    row = list(csv.DictReader(io.StringIO(run.get("/metrics", params={"format": "csv"}).text)))[-1]
    assert [row[rate] for rate in RATES] == ["", ""]


@pytest.mark.parametrize(("target", "mention"), [(10, "classes 0 to 9"), (-1, "target"), ("three", "target")])
def test_a_target_that_is_no_class_is_422(server: httpx.Client, target: object, mention: str) -> None:
    assert mention in problem(server.post("/v1/runs", json=SPECIFICATION | {"target": target}), 422)["detail"]


def test_measuring_a_target_changes_nothing_of_the_game(run: TinyRun) -> None:
    run.play(0)
    measured = TinyRun(run.client, name="measured", target=1)
    measured.play(0)
    ends = [each.until("finished")["result"]["parameters_sha256"] for each in (run, measured)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("attacker", "flags", "target"),
    [
        ("Aimed,target=3", [], 3),
        ("Aimed,target=3", ["--target", "7"], 7),
        ("Aimed,target=north", [], None),
    ],
)
def test_play_measures_the_class_that_its_attacker_is_after(
    midstream: Callable[..., Ended], tmp_path: Path, attacker: str, flags: list[str], target: int | None
) -> None:
    (tmp_path / "aimed.py").write_text(PLUGIN)
    game = ["--attacker", f"{tmp_path}/aimed.py:{attacker}", "--max-steps", "2", "--out", str(tmp_path)]
    ended = midstream("play", *game, *flags, "--transport", "local", "--threads", "1", "--json")
    assert ended.code == 0, ended.err
    outcome = json.loads(ended.out)
    folder = Path(outcome["run"])
    assert json.loads((folder / "specification.json").read_text())["target"] == target
    result = json.loads((folder / "result.json").read_text())
    for rate in RATES:
        assert outcome[rate] == result[rate]
        assert (outcome[rate] is None) == (target is None)
