"""`midstream plugins check` for checkers: each fault is named, and only where there is one."""

import json
from pathlib import Path

import pytest

from midstream.command.bench import checker as bench
from midstream.command.bench.checker import check_checker
from midstream.command.main import main

pytestmark = pytest.mark.slow

FAULTY = """
import torch
from midstream import among, pixels


class Bright:
    def judge(self, batch, view):
        known = pixels(view.validation_inputs).flatten(1).mean(1)
        return among(known, batch.inputs.flatten(1).mean(1))


class Draws(Bright):
    def judge(self, batch, view):
        return among(torch.rand(5), torch.rand(len(batch.labels)))


class Counts(Bright):
    count = 0

    def judge(self, batch, view):
        self.count += 1
        return among(torch.arange(5.0), torch.full((len(batch.labels),), float(self.count % 5)))


class Writes(Bright):
    def judge(self, batch, view):
        view.validation_inputs.zero_()
        return super().judge(batch, view)


class Short(Bright):
    def judge(self, batch, view):
        return among(torch.rand(5), torch.rand(2))
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("STEPS", 6), ("RESTART", 3), ("FEW", 2)):
        monkeypatch.setattr(bench, name, few)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("faulty") / "faulty_checks.py"
    path.write_text(FAULTY)
    return str(path)


def test_an_installed_checker_breaks_no_rule() -> None:
    checks = check_checker("drift")
    assert [check.name for check in checks] == [
        *("moves", "untouched", "determinism", "memory", "speed", "effect")
    ]
    assert {check.outcome for check in checks if check.name != "effect"} == {"passed"}
    assert 0 <= checks[-1].figures["auc"] <= 1


@pytest.mark.parametrize(
    ("checker", "broken"),
    [
        ("Draws", {"determinism"}),
        ("Counts", {"memory"}),
        ("Writes", {"untouched", "memory"}),
        ("Short", {"moves"}),
    ],
)
def test_each_fault_is_named(checker: str, broken: set[str], faulty: str) -> None:
    checks = check_checker(f"{faulty}:{checker}")
    assert {check.name for check in checks if check.outcome == "failed"} == broken


def test_the_role_is_found(faulty: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plugins", "check", f"{faulty}:Bright", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert list(found) == ["plugin", "passed", "checker"]
    assert Path(faulty).exists()
