"""A sweep from its command to its table, whatever is killed on the way."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from midstream.command.results.reading import MergeError, gathered, read_results
from midstream.command.results.results import Results
from midstream.command.results.results_folder import held, write_trial
from midstream.command.sweep import sweeping
from midstream.command.sweep.axes import GridError
from midstream.command.sweep.devices import shared_devices
from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.place import Place
from midstream.command.sweep.sweeping import play_trials
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.trial_game import play_trial, played
from midstream.command.sweep.workers import ray_workers
from midstream.storage.run_folder import write_json
from midstream_server.runs.recovery import checkpointed
from services.conftest import Ended
from services.waiting import until

Midstream = Callable[..., Ended]

SIZES: dict[str, Any] = {"train_size": 25, "validation_size": 40, "batch_size": 5, "epochs": 2}
GRID: dict[str, Any] = {**SIZES, "attacker": ["none", "level-1"], "seeds": 2}
FLAGS = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]

FAILING = """
class Failing:
    def perturb(self, batch, view):
        raise ValueError("no idea")
"""


def place(out: Path) -> Place:
    return Place(out, device="cpu")


def follow(step: int, total: int, text: str) -> None:
    """Tell nobody."""


def play_here(grid: dict[str, Any], out: Path) -> list[Trial]:
    trials = trials_of([grid])
    for trial in trials:
        play_trial(trial, place(out), follow)
    return trials


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder whose trials were played in this process, one after another."""
    out = tmp_path_factory.mktemp("results")
    play_here(GRID, out)
    return out


def facts(results: Results) -> tuple[str, list[str]]:
    return json.dumps(results.table().document()), [
        str(t.outcome["parameters_sha256"]) for t in results.trials
    ]


def test_a_table_holds_what_the_runs_hold(swept: Path, midstream: Midstream) -> None:
    ended = midstream("results", str(swept), "--json", "--paired", "attacker", "none", "level-1")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found.keys() == {"trials", "table", "failed", "unfinished", "paired"}
    assert len(found["trials"]) == 4
    for outcome in found["trials"]:
        result = json.loads((Path(outcome["run"]) / "result.json").read_text())
        assert outcome["parameters_sha256"] == result["parameters_sha256"]
    means = {}
    for cell in found["table"]["cells"]:
        own = [t["test_accuracy"] for t in found["trials"] if t["attacker"] == cell["attacker"]]
        assert (cell["n"], cell["mean"]) == (2, pytest.approx(sum(own) / 2))
        means[cell["attacker"]] = cell["mean"]
    (paired,) = found["paired"]
    assert paired["mean"] == pytest.approx(means["none"] - means["level-1"])


def test_a_trial_is_the_run_of_play(swept: Path, midstream: Midstream, tmp_path: Path) -> None:
    (folder,) = [
        one.folder
        for one in read_results(swept).trials
        if (one.trial.attacker, one.settings["seed"]) == ("level-1", 1)
    ]
    again = midstream("play", str(folder / "scenario.yaml"), "--out", str(tmp_path), "--json")
    result = json.loads((folder / "result.json").read_text())
    assert json.loads(again.out)["parameters_sha256"] == result["parameters_sha256"]


def test_tables_and_plots_are_written(swept: Path, midstream: Midstream, tmp_path: Path) -> None:
    files = {"--table": "t.csv", "--plot": "curves.svg", "--bars": "bars.png"}
    words = [word for flag, name in files.items() for word in (flag, str(tmp_path / name))]
    ended = midstream("results", str(swept), *words, "--value", "validation_loss")
    assert ended.code == 0, ended.err
    assert "Validation loss" not in ended.out.splitlines()[0]
    assert all((tmp_path / name).stat().st_size > 0 for name in files.values())
    assert "attacker level-1" in (tmp_path / "curves.svg").read_text()


def test_wrong_requests_are_refused_in_a_sentence(swept: Path, midstream: Midstream, tmp_path: Path) -> None:
    for words, code, reason in (
        (["--value", "acuracy"], 2, "number in the outcomes"),
        (["--rows", "atacker"], 2, "did you mean 'attacker'"),
        (["--table", "t.xls"], 2, ".csv"),
        (["--paired", "attacker", "none", "pgd"], 2, "no two trials differ only in attacker"),
        ([str(tmp_path)], 1, "holds no trials"),
    ):
        ended = midstream("results", str(swept), *words)
        assert (ended.code, reason in ended.err) == (code, True), ended.err


def test_folders_of_several_machines_merge(swept: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    names = sorted(one.folder.name for one in read_results(swept).trials)
    for out, some in ((first, names[:3]), (second, names[2:])):  # the third was played by both
        for name in some:
            shutil.copytree(swept / name, out / name)
    assert facts(read_results(first, second)) == facts(read_results(swept))


def test_machines_that_disagree_are_named(swept: Path, tmp_path: Path) -> None:
    name = read_results(swept).trials[0].folder.name
    shutil.copytree(swept / name, tmp_path / name)
    result = json.loads((tmp_path / name / "result.json").read_text())
    del result["files"], result["sha256"]
    write_json(tmp_path / name / "result.json", result | {"parameters_sha256": "0" * 64})
    with pytest.raises(MergeError, match=f"{name} are the same trial with different parameters"):
        read_results(swept, tmp_path)


def test_an_altered_run_is_refused(swept: Path, tmp_path: Path) -> None:
    name = read_results(swept).trials[0].folder.name
    shutil.copytree(swept / name, tmp_path / name)
    with (tmp_path / name / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="altered since the run finished"):
        read_results(tmp_path)


def test_a_failed_trial_is_named_and_played_again(tmp_path: Path, midstream: Midstream) -> None:
    plug_in = tmp_path / "failing.py"
    plug_in.write_text(FAILING)
    out = tmp_path / "results"
    (trial,) = trials_of([{**SIZES, "attacker": f"{plug_in}:Failing"}])
    reason = played(trial, place(out), follow)
    assert reason is not None
    assert "no idea" in reason
    play_here({**SIZES, "attacker": "none"}, out)
    ended = midstream("results", str(out))
    assert ended.code == 1
    assert f"failed: digits, {plug_in}:Failing vs none, seed 0 ({trial.name}): {reason}" in ended.err
    assert "1 of 2 trials failed" in ended.err.splitlines()[-1]
    assert played(trial, place(out), follow) == reason


def test_a_plug_in_that_is_edited_during_a_sweep_is_not_played(tmp_path: Path) -> None:
    plug_in = tmp_path / "failing.py"
    plug_in.write_text(FAILING)
    (trial,) = trials_of([{**SIZES, "attacker": f"{plug_in}:Failing"}])
    plug_in.write_text(FAILING + "# edited\n")
    assert "changed since the sweep began" in str(played(trial, place(tmp_path / "results"), follow))


def test_an_interrupted_trial_goes_on(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointed, "REPLAY_SECONDS", 0.0)  # a checkpoint after each step
    trial = trials_of([GRID])[-1]
    told: list[int] = []

    def interrupted(step: int, *_: object) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play_trial(trial, place(tmp_path), interrupted)
    result = play_trial(trial, place(tmp_path), lambda step, *_: told.append(step))
    assert told == list(range(told[0], 11))
    assert told[0] > 5
    (undisturbed,) = gathered([trial], [swept]).trials
    assert result.parameters_sha256 == undisturbed.result.parameters_sha256


def test_a_trial_that_cannot_go_on_is_played_again(swept: Path, tmp_path: Path) -> None:
    trial = trials_of([GRID])[-1]
    (undisturbed,) = gathered([trial], [swept]).trials
    for damaged in ("{}", "nothing"):
        out = tmp_path / damaged
        write_trial(out / trial.name, trial)
        for name in ("specification.json", "open", "metrics.jsonl"):
            (out / trial.name / name).write_text(damaged)
        result = play_trial(trial, place(out), follow)
        assert result.parameters_sha256 == undisturbed.result.parameters_sha256


def test_finished_trials_are_not_played_again(swept: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in swept.glob("*/*")}
    results = play_trials(trials_of([GRID]), place(swept), workers=2)
    assert facts(results)[1]
    assert {path: path.stat().st_mtime_ns for path in swept.glob("*/*")} == before


def test_a_sweep_stops_in_time(
    swept: Path, tmp_path: Path, midstream: Midstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = read_results(swept).trials
    shutil.copytree(first.folder, tmp_path / first.folder.name)
    closed = []

    def slow(*_: object, **__: object) -> Generator[None]:
        try:
            while True:
                yield None
        finally:
            closed.append(True)

    monkeypatch.setattr(sweeping, "play_on_workers", slow)
    flags = ["--attacker", "none", "--attacker", "level-1", "--seeds", "2"]
    ended = midstream("sweep", *FLAGS, *flags, "--out", str(tmp_path), "--hours", "0.00001", "--json")
    assert (ended.code, closed) == (1, [True])
    found = json.loads(ended.out)
    assert [trial["run"] for trial in found["trials"]] == [str(tmp_path / first.folder.name)]
    assert sorted(found["unfinished"]) == sorted(str(one.trial) for one in others)
    assert "3 of 4 trials are not finished; the same 'midstream sweep' plays them" in ended.err


def test_a_node_without_the_results_folder_sends_the_run_folder(swept: Path, tmp_path: Path) -> None:
    trial, out = trials_of([GRID])[-1], tmp_path / "results"
    reason, packed = ray_workers._play(trial.document(), place(out).document(), "another file system")
    assert reason is None
    assert packed is not None
    assert not out.exists()
    out.mkdir()
    for _ in range(2):  # what came before is replaced
        ray_workers._unpack(packed, out, trial.name)
    assert facts(gathered([trial], [out])) == facts(gathered([trial], [swept]))


def test_a_node_with_the_results_folder_plays_there(tmp_path: Path) -> None:
    trial = trials_of([GRID])[0]
    (tmp_path / ".shared").write_text("this one")
    assert ray_workers._play(trial.document(), place(tmp_path).document(), "this one") == (None, None)
    assert gathered([trial], [tmp_path]).trials


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_an_engine_that_is_not_installed_is_named(tmp_path: Path, midstream: Midstream) -> None:
    ended = midstream("sweep", *FLAGS, "--engine", "ray", "--out", str(tmp_path))
    assert (ended.code, "pip install 'midstream[ray]'" in ended.err) == (1, True)


def test_games_share_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(GridError, match="no GPU here: use workers"):
        shared_devices("auto")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (shared_devices("auto"), shared_devices("cuda:1")) == (["cuda:0", "cuda:1"], ["cuda:1"])
    assert shared_devices("cpu") == ["cpu"]


@pytest.mark.process
def test_one_process_plays_trials_side_by_side(swept: Path, tmp_path: Path) -> None:
    results = play_trials(trials_of([GRID]), place(tmp_path), workers=7, games_per_device=3)
    assert facts(results) == facts(gathered(trials_of([GRID]), [swept]))
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["worker-1.log"]


def test_a_trial_in_hand_is_held(tmp_path: Path) -> None:
    lock = tmp_path / ".locks" / "a"
    with held(tmp_path, "a"), lock.open("wb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def steps(out: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in out.glob("*/metrics.jsonl"))


def finished(out: Path) -> int:
    return len(list(out.glob("*/result.json")))


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the workers are found in /proc")
def test_kills_change_no_bit_of_the_table(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    words = [
        "sweep",
        *FLAGS,
        "--attacker",
        "none",
        "--attacker",
        "level-1",
        "--seeds",
        "2",
        "--out",
        str(out),
    ]
    command = [sys.executable, "-m", "midstream.command.main", *words, "--device", "cpu", "--workers", "2"]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: steps(out) > 0, "the first step")
        (server,) = children(sweep.pid)
        first = children(server)
        os.kill(first[0], signal.SIGKILL)  # a new worker takes its trial
        until(lambda: set(children(server)) - set(first), "the new worker")
        os.kill(server, signal.SIGKILL)  # its workers end; a new server starts others
        until(lambda: finished(out) > 0, "the first trial")
        (server,) = children(sweep.pid)
        left = [server, *children(server)]
    finally:
        sweep.kill()
        sweep.wait()
    results = play_trials(trials_of([GRID]), place(out), workers=1)
    assert facts(results) == facts(gathered(trials_of([GRID]), [swept]))
    until(
        lambda: not any(Path(f"/proc/{process}").exists() for process in left),
        "the end of the killed sweep's server and workers",
    )
