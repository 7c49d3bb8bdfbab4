"""What a run leaves behind as it goes: metrics, pictures, and counters for Prometheus."""

import csv
import io
import json
from pathlib import Path

import httpx
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from midstream.protocol.wire import decode_tensors
from midstream.run.models import build_model
from services.tiny import STEPS, TinyRun, batch, problem


def test_the_history_has_a_record_a_step_and_evaluates_each_epoch(run: TinyRun, tmp_path: Path) -> None:
    run.play(0)
    records = run.until_recorded(STEPS)
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["epoch"] for record in records] == [0, 0, 0, 1, 1, 1]
    assert [record["step"] for record in records if record["test_accuracy"] is not None] == [3, 6]
    assert all(
        0 <= records[step][key] <= 1 for step in (2, 5) for key in ("test_accuracy", "validation_accuracy")
    )
    assert all(record["loss"] > 0 and record["correction"] == 0 for record in records)
    assert run.get("/metrics", params={"after": 4}).json()["records"] == records[4:]
    assert run.get("/metrics", params={"after": 99}).json()["records"] == []
    lines = (tmp_path / "runs/tiny/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records


def test_the_history_as_csv(run: TinyRun) -> None:
    run.play(0, 4)
    records = run.until_recorded(4)
    asked = run.get("/metrics", params={"format": "csv"})
    assert asked.headers["Content-Type"].startswith("text/csv")
    assert run.get("/metrics", headers={"Accept": "text/csv"}).text == asked.text
    rows = list(csv.DictReader(io.StringIO(asked.text)))
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in records]
    assert [row["test_accuracy"] != "" for row in rows] == [False, False, True, False]
    assert (
        run.get("/metrics", params={"format": "json"}, headers={"Accept": "text/csv"}).json()["run"] == "tiny"
    )
    problem(run.get("/metrics", params={"format": "xml"}), 422)
    problem(run.get("/metrics", params={"after": -1}), 422)


def test_a_thinned_history_keeps_what_was_evaluated(server: httpx.Client) -> None:
    run = TinyRun(server, epochs=20, evaluate_every=7)
    run.play(0, 60)
    records = run.until_recorded(60)
    thinned = run.get("/metrics", params={"points": 10}).json()["records"]
    evaluated = [record for record in records if record["test_accuracy"] is not None]
    assert [record for record in thinned if record["test_accuracy"] is not None] == evaluated
    assert [record for record in records if record in thinned] == thinned
    assert len(thinned) <= 10 + len(evaluated) < len(records)
    assert (thinned[0], thinned[-1]) == (records[0], records[-1])
    losses, kept = ([record["loss"] for record in some] for some in (records, thinned))
    assert (min(kept), max(kept)) == (min(losses), max(losses))
    assert run.get("/metrics", params={"points": 60}).json()["records"] == records
    later = run.get("/metrics", params={"after": 30, "points": 10, "format": "csv"}).text
    assert next(csv.DictReader(io.StringIO(later)))["step"] == "31"
    problem(run.get("/metrics", params={"points": 9}), 422)


def test_a_finished_run_has_a_result(run: TinyRun, tmp_path: Path) -> None:
    run.play(0)
    status = run.until("finished")
    result = status["result"]
    assert result["parameters_sha256"] == run.sha256()
    assert (result["steps"], result["epochs"], result["seed"]) == (STEPS, 2, 0)
    assert (
        result["test_accuracy"] == status["test_accuracy"] == run.until_recorded(STEPS)[-1]["test_accuracy"]
    )
    assert json.loads((tmp_path / "runs/tiny/result.json").read_text()) == result


def test_what_the_model_took_the_pictured_examples_for(run: TinyRun) -> None:
    assert "none yet" in problem(run.get("/samples/0/predictions"), 404)["detail"]
    run.play(0, 1)
    run.until_recorded(1)
    model = build_model("digits-cnn", (1, 8, 8), 10).eval()
    model.load_state_dict(decode_tensors(run.get("/parameters", params={"version": 1}).content))
    inputs = batch(0).inputs[:8]
    predicted = model(torch.as_tensor(inputs)).argmax(1).tolist()
    assert run.get("/samples/0/predictions").json() == {
        "version": 1,
        "labels": batch(0).labels[:8].tolist(),
        "received": predicted,
        "defended": predicted,
    }
    problem(run.get("/samples/1/predictions"), 404)


def test_pictures_of_an_epochs_first_batch(run: TinyRun) -> None:
    found = problem(run.get("/samples/0"), 404)
    assert "none yet" in found["detail"]
    run.play(0)
    assert run.until("finished")["samples"] == [0, 3]
    for seq in (0, 3):
        response = run.get(f"/samples/{seq}")
        assert response.headers["Content-Type"] == "image/png"
        with Image.open(io.BytesIO(response.content)) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert picture.width < picture.height  # three tiles wide, eight examples high
    assert "3" in problem(run.get("/samples/1"), 404)["detail"]
    problem(run.get("/samples/first"), 422)


def test_prometheus_reads_the_counters(run: TinyRun) -> None:
    other = TinyRun(run.client, name="other", epochs=1)
    run.play(0)
    status = run.until("finished")
    response = run.client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    values = {
        (sample.name, sample.labels["run"]): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    for key in ("step", "total_steps", "loss", "test_accuracy", "validation_accuracy", "validation_loss"):
        assert values["midstream_" + key, "tiny"] == status[key]
    assert values["midstream_step", other.name] == 0
    assert values["midstream_total_steps", other.name] == 3
    assert ("midstream_loss", other.name) not in values


def test_the_counters_of_a_server_without_runs(server: httpx.Client) -> None:
    families = text_string_to_metric_families(server.get("/metrics").text)
    assert [sample for family in families for sample in family.samples] == []
