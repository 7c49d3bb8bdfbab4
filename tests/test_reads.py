"""A step reads back from the device once a side, and nothing is trained on before its checks are read."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import tiny_training
import torch
from services import tiny
from tiny_training import Idle, batch, equal, run, state
from torch import Tensor, nn

from midstream import Batch, Budget, View
from midstream.players.checks import Checks
from midstream.players.referee import PlayerError
from midstream.protocol.checks import check_batch
from midstream.run.batches import BatchSource
from midstream.run.training import DivergedError
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun

READS = ("tolist", "item", "__bool__", "__float__", "__int__", "__index__", "cpu", "numpy", "nonzero")
"""Methods of a tensor that make the host wait for its device."""


@contextmanager
def reads() -> Iterator[Counter[str]]:
    """Count the reads by midstream's own code; a torch optimizer's step counts live on the CPU."""
    found: Counter[str] = Counter()
    saved = {name: getattr(Tensor, name) for name in READS}

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        frame = sys._getframe(2)
        if frame.f_globals["__name__"].startswith("midstream"):
            found[f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_code.co_name}"] += 1
        return saved[name](*arguments, **options)

    for name in READS:
        setattr(Tensor, name, lambda *a, _name=name, **o: counted(_name, *a, **o))
    try:
        yield found
    finally:
        for name, method in saved.items():
            setattr(Tensor, name, method)


@pytest.mark.parametrize(
    "attacker", ["level-1", "level-1,at=memory", "level-2-closed-form", "level-2,steps=3"]
)
def test_a_step_reads_back_once_a_side_and_once_between_them(attacker: str) -> None:
    made = run("level-1")
    attacked = AttackedRun(LocalGame(made), AttackSettings(attacker, allowed=None))
    batches = BatchSource(made.specification, tiny.split().train)
    for seq in range(3):
        with reads() as found:
            sent = attacked.attack(batches.batch(seq))
            checked = check_batch(
                sent,
                seq=seq,
                length=len(sent.labels),
                input_shape=made.input_shape,
                classes=len(made.classes),
            )
            made.train(checked)
    of_the_host = {
        "training.py:train",
        "content_keys.py:content_keys",
    }  # samples; keys, from the batch as it came
    counted = {name: count for name, count in found.items() if name not in of_the_host}
    ranges = {"budget.py:beyond": 1} if attacker == "level-2,steps=3" else {}  # level k checks its inputs
    assert counted == {"checks.py:settle": 2, "checks.py:check_batch": 1} | ranges


class Answers(Idle):
    """Returns numbers that are none at one batch."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        return super().perturb(batch, view) / (0.0 if batch.seq == 1 else 1.0)


def test_a_batch_that_breaks_the_rules_is_not_trained_on() -> None:
    made = run(Answers())
    made.train(batch(0))
    before = state(made)
    with pytest.raises(PlayerError, match="defender 'none' returned a NaN or an infinity at batch 1"):
        made.train(batch(1))
    assert made.step == 1
    assert equal(state(made), before)


class Counts(nn.Module):
    """Counts its calls in a buffer, as a layer with statistics does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return x.flatten(1)


def counting(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(Counts(), nn.Linear(int(torch.tensor(shape).prod()), classes))


def test_nor_do_the_buffers_of_a_model_see_it() -> None:
    made = run(Answers(), model=f"{__name__}:counting")
    made.train(batch(0))
    before = state(made)
    with pytest.raises(PlayerError):
        made.train(batch(1))
    assert equal(state(made), before)


def test_of_several_faults_the_first_is_named_and_numbers_are_read_along() -> None:
    checks = Checks()
    loss = checks.number(torch.tensor(2.5))
    with pytest.raises(RuntimeError, match="has not been read yet"):
        _ = loss.value
    for holds, name in ((True, "a"), (False, "b"), (False, "c")):
        checks.require(torch.tensor(holds), partial(ValueError, name))
    with pytest.raises(ValueError, match="b"):
        checks.settle()
    checks.settle()
    again = checks.number(torch.tensor(3))
    checks.require(torch.tensor(True), partial(ValueError, "d"))
    checks.settle()
    assert again.value == 3


@pytest.mark.parametrize("options", [{}, {"model": f"{__name__}:counting"}])
def test_a_loss_that_is_no_number_changes_nothing(options: dict[str, str]) -> None:
    made = run("none", **options)
    made.train(batch(0))
    before = state(made)
    endless = Batch(1, torch.full_like(tiny_training.batch(1).inputs, float("inf")), batch(1).labels)
    with pytest.raises(DivergedError, match="the training loss of batch 1 is nan"):
        made.take_step(endless)
    assert equal(state(made), before)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf")])
def test_whether_inputs_are_within_the_range_is_known_without_a_read(bad: float) -> None:
    x = torch.rand(3, 4)
    x[1, 2] = bad
    assert Budget(1.0).within(x).item() is (Budget(1.0).beyond(x) is None) is False
    assert Budget(1.0).within(x.clamp(0, 1).nan_to_num(0)).item() is True
