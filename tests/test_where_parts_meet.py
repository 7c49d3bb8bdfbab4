"""Batch norm, checkers, memories, caches and failing disks, where two of them meet."""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from services import tiny
from services.small_games import training
from torch import Tensor

from midstream import Batch, Gate, Suspicion, View, pixels
from midstream.command.games.plugin_files import plugin_files
from midstream.players.course import Course, Ground, learn
from midstream.players.referee import PlayerError
from midstream.players.wrappers.limited import Limited
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.run.optimizing.next_step import UnmodelledStepError
from midstream.storage.lines import append_line, lines
from midstream.storage.run_folder import FINDINGS, RunFolder
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.provenance import environment_of
from midstream_server.runs.training import TrainingRun


def batch(seq: int = 0) -> Batch:
    sent = tiny.batch(seq)
    return Batch(seq, pixels(sent.inputs), sent.labels)


@dataclass
class Suspects:
    """Suspects some examples of each batch, and counts the batches; it may fail at one after counting it."""

    suspects: list[int] = field(default_factory=lambda: [1, 4])
    fails: int | None = None
    count: int = 0

    def judge(self, batch: Batch, view: View) -> Suspicion:  # noqa: ARG002
        self.count += 1
        if batch.seq == self.fails:
            raise KeyError("gone")
        examples = torch.zeros(len(batch.labels))
        examples[self.suspects] = 1
        return Suspicion(examples, torch.tensor(0.0))

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.count = int(state["count"])


@dataclass
class Counts:
    """A defender that counts its moves."""

    count: int = 0

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        self.count += 1
        return torch.zeros_like(batch.inputs)

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.count = int(state["count"])


def run(checker: Any, *, playing: Any = None, gate: dict[str, Any] | None = None, **own: Any) -> TrainingRun:
    specification = Specification.model_validate(tiny.SPECIFICATION | own)
    made = Gate(name="suspects", checker=checker, **(gate or {}))
    return TrainingRun(specification, tiny.split(), device=torch.device("cpu"), defender=playing, gate=made)


@pytest.fixture
def normalised(tmp_path: Path) -> dict[str, str]:
    """Return the settings of a network whose batch norm needs two examples."""
    (tmp_path / "network.py").write_text(
        "from torch import nn\n"
        "def made(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))\n"
    )
    return {"model": f"{tmp_path}/network.py:made", "batch_norm": "training"}


def test_a_repair_uses_the_statistics_that_the_step_uses(normalised: dict[str, str]) -> None:
    repairing = run(Suspects(), gate={"action": "repair"}, defender="level-1", **normalised)
    found, whole = repairing.train(batch()), training(defender="level-1", **normalised).train(batch())
    assert torch.equal(found.defended[[1, 4]], whole.defended[[1, 4]])
    assert torch.equal(found.defended[[0, 2, 3]], batch().inputs[[0, 2, 3]])


def test_a_checker_that_may_leave_one_example_is_refused(normalised: dict[str, str]) -> None:
    with pytest.raises(PluginError, match="'suspects' may leave one example of a minibatch, and batch norm"):
        run(Suspects(), gate={"action": "drop"}, **normalised)
    run(Suspects(), gate={"action": "flag"}, **normalised)


@pytest.mark.parametrize("on_error", ["stop", "pass-clean"])
def test_players_forget_a_batch_at_which_one_of_them_failed(on_error: str) -> None:
    checker, defender = Suspects(fails=1), Counts()
    checked = run(checker, playing=defender, gate={"at": "after"}, on_error=on_error)
    checked.train(batch())
    if on_error == "stop":
        with pytest.raises(PlayerError, match="gone"):
            checked.train(batch(1))
    else:
        assert checked.train(batch(1)).step == 2
    assert (checker.count, defender.count) == (1, 1)


def test_a_step_that_is_recorded_again_has_one_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    recorded = RecordedRun(run(Suspects()), folder)
    recorded.train(batch(), {})

    def full(_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "append_metrics", full)
        for _ in range(2):
            with pytest.raises(OSError, match="no space"):
                recorded.settle()
    recorded.settle()
    assert [line["step"] for line in lines(folder.path / FINDINGS)] == [1]
    folder.close()


def test_a_line_that_is_written_in_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    append_line(path, {"one": 1})
    before, opened = path.read_bytes(), Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, line: bytes) -> int:
            return int(self._file.write(line[:3]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *what, **how: Full(opened(*what, **how)))
        with pytest.raises(OSError, match="only part of a line"):
            append_line(path, {"two": 2})
    assert path.read_bytes() == before


@dataclass
class Learns:
    """An attacker that notes what it learns on."""

    learned: list[int] = field(default_factory=list)

    def course(self, ground: Ground) -> Course:
        self.learned.append(len(ground.validation_labels))
        return Course("", {}, 0, lambda _: 0.0)

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(batch.inputs)


def test_an_attacker_with_a_part_of_dval_learns_on_that_part() -> None:
    made, attacker = training(), Learns()
    ground = Ground(
        pixels(made.validation_here[0]),
        made.validation_here[1],
        classes=10,
        budget=made.specification.budget,
        learning_rate=0.1,
        batch_size=10,
        seed=0,
        role="attacker",
        model_source=made.another_model,
    )
    for share in (1.0, 0.25):
        learn(Limited(inner=attacker, dval=share), ground)
    assert attacker.learned == [40, 10]


def test_the_file_of_the_checker_that_an_attacker_evades_is_one_of_the_game(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    name = f"{tmp_path}/mine.py:Mine"
    specification = Specification.model_validate(tiny.SPECIFICATION)
    assert list(plugin_files(specification, f"level-1,stealth=0.5,stealth_checker={name}")) == [name]


def test_a_run_records_the_library_of_its_network() -> None:
    made = training()
    assert "torchvision" not in environment_of(made)
    made.specification = made.specification.model_copy(update={"model": "torchvision:squeezenet1_1"})
    assert environment_of(made)["torchvision"] == version("torchvision")


def halves(parameters: list[Any], lr: float) -> torch.optim.Optimizer:
    """Return an optimizer whose later parameters learn half as fast."""
    groups: list[dict[str, Any]] = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": lr / 2}]
    return torch.optim.SGD(groups, lr=lr)


def test_an_optimizer_of_your_own_keeps_the_learning_rates_of_its_groups() -> None:
    made = training(optimizer=f"{__name__}:halves", schedule="step,every=1", learning_rate=0.25)
    found = []
    for seq in range(4):
        made.train(batch(seq))
        found.append([group["lr"] for group in made.optimization.optimizer.param_groups])
    assert found == [[0.25, 0.125]] * 3 + [[0.025, 0.0125]]
    assert "several parameter groups" in (made.optimization.unmodelled or "")
    with pytest.raises(UnmodelledStepError, match="several parameter groups"):
        made.training_step()


def test_minibatches_of_which_nothing_is_left_make_no_step_together() -> None:
    checker = Suspects(suspects=[])
    checked = run(checker, gate={"action": "drop"}, accumulate=2)
    for seq in range(2):
        checked.train(batch(seq))
    before = {name: one.clone() for name, one in checked.state_dict().items()}
    for seq in (2, 3):
        checker.suspects = list(range(len(batch(seq).labels)))
        checked.train(batch(seq))
    after = checked.state_dict()
    assert checked.step == 4
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["checker.count"]
    assert not any(name.startswith("accumulated.") for name in after)
