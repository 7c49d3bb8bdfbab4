"""What the training server does with a checker's findings, step by step."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from services import tiny
from services.small_games import training
from torch import Tensor

from midstream import Batch, Gate, MidstreamError, Suspicion, View, pixels, plugins
from midstream.players.checking import AlarmError
from midstream.players.referee import PlayerError
from midstream_server.runs.training import TrainingRun


@dataclass
class Told:
    """Suspects the examples that it is told, and the batch as it is told; it counts how often it judged."""

    suspects: list[int] = field(default_factory=lambda: [1, 4])
    batch: float = 0.0
    seen: list[tuple[int, Tensor]] = field(default_factory=list)

    def judge(self, batch: Batch, view: View) -> Suspicion:
        self.seen.append((view.classes, batch.inputs))
        view.report("judged", len(self.seen))
        examples = torch.zeros(len(batch.labels))
        examples[self.suspects] = 1
        batch.inputs.fill_(0.5)  # its own copy
        return Suspicion(examples, torch.tensor(self.batch))

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(len(self.seen))}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        del self.seen[int(state["count"]) :]


def run(checker: object, *, defender: str = "none", **gate: Any) -> TrainingRun:
    made = Gate(name="told", checker=checker, **gate)  # type: ignore[arg-type]
    found = training(defender=defender)
    return TrainingRun(found.specification, tiny.split(), device=torch.device("cpu"), gate=made)


def batch(seq: int = 0) -> Batch:
    sent = tiny.batch(seq)
    return Batch(seq, pixels(sent.inputs), sent.labels)


def same(one: TrainingRun, other: TrainingRun) -> bool:
    ours, theirs = one.parameters(), other.parameters()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("defender", ["none", "level-1", "cutmix"])
def test_a_flag_changes_no_bit(at: Any, defender: str) -> None:
    checked, plain = run(Told(), defender=defender, at=at), training(defender=defender)
    found = checked.train(batch())
    plain.train(batch())
    assert same(checked, plain)
    assert found.finding is not None
    assert found.finding.flagged.nonzero()[:, 0].tolist() == [1, 4]
    assert found.finding.reported == {"judged": 1}
    assert found.reported == {}


def test_the_rest_of_a_batch_is_trained_on() -> None:
    checked, plain = run(Told(), action="drop", defender="level-1"), training(defender="level-1")
    kept = torch.tensor([0, 2, 3, *range(5, 10)])
    found = checked.train(batch())
    plain.train(Batch(0, batch().inputs[kept], batch().labels[kept]))
    assert same(checked, plain)
    assert torch.equal(found.defended[[1, 4]], batch().inputs[[1, 4]])
    assert (found.defended[kept] != batch().inputs[kept]).flatten(1).any(1).all()
    assert len(found.labels) == 10


def test_after_the_defender_it_sees_what_is_trained_on() -> None:
    told = Told()
    checked, plain = run(told, action="drop", defender="level-1", at="after"), training(defender="level-1")
    kept = torch.tensor([0, 2, 3, *range(5, 10)])
    checked.train(batch())
    plain.train(Batch(0, batch().inputs[kept], batch().labels[kept]))
    assert same(checked, plain)  # level 1 corrects each example by itself
    assert told.seen[0][0] == 10


@pytest.mark.parametrize("defender", ["none", "level-1", "train-on-validation"])
@pytest.mark.parametrize("at", ["before", "after"])
def test_a_step_without_examples_counts_and_changes_nothing(defender: str, at: Any) -> None:
    checked = run(Told(list(range(10))), action="drop", defender=defender, at=at)
    before = {name: value.clone() for name, value in checked.state_dict().items()}
    found = checked.train(batch())
    assert (found.step, checked.step) == (1, 1)
    after = checked.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["checker.count"]
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(checked.model(batch().inputs), batch().labels)
    assert found.loss == pytest.approx(loss.item())


def test_only_suspicious_examples_are_repaired() -> None:
    repaired, defended = run(Told(), action="repair", defender="level-1"), training(defender="level-1")
    found, whole = repaired.train(batch()), defended.train(batch())
    suspects = torch.tensor([1, 4])
    clean = torch.tensor([0, 2, 3, *range(5, 10)])
    assert torch.allclose(found.defended[suspects], whole.defended[suspects], atol=1e-6)
    assert torch.equal(found.defended[clean], batch().inputs[clean])


def test_if_nothing_is_suspicious_nothing_is_repaired() -> None:
    repaired, plain = run(Told([]), action="repair", defender="level-1"), training()
    repaired.train(batch())
    plain.train(batch())
    assert same(repaired, plain)


def test_an_alarm_stops_the_run_and_leaves_it_as_it_was() -> None:
    checked = run(Told(batch=0.99995), action="stop")
    before = {name: value.clone() for name, value in checked.state_dict().items()}
    with pytest.raises(AlarmError, match=r"'told' stopped the run at batch 0: its suspicion is 0\.99995"):
        checked.train(batch())
    after = checked.state_dict()
    assert checked.step == 0
    assert all(torch.equal(before[name], after[name]) for name in before)
    quiet = run(Told(batch=0.9998), action="stop")
    assert quiet.train(batch()).finding is not None


class Broken:
    def __init__(self, found: object) -> None:
        self.found = found

    def judge(self, batch: Batch, view: View) -> Any:  # noqa: ARG002
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (KeyError("gone"), "failed at batch 0: KeyError"),
        (None, "returned a NoneType at batch 0, not a Suspicion"),
        (Suspicion(torch.zeros(9), torch.tensor(0.0)), r"examples of \(9,\) at batch 0, not .* \(10,\)"),
        (Suspicion(torch.zeros(10), torch.zeros(1)), r"batch of \(1,\) at batch 0"),
        (Suspicion(torch.full((10,), float("nan")), torch.tensor(0.0)), "a NaN or an infinity in examples"),
    ],
)
def test_a_checker_that_breaks_the_rules_is_named(found: object, message: str) -> None:
    with pytest.raises(PlayerError, match=f"^checker 'told' .*{message}"):
        run(Broken(found)).train(batch())


def test_a_checker_that_fails_may_be_passed_by() -> None:
    made = Gate(name="told", checker=Broken(KeyError("gone")))
    plain = training(on_error="pass-clean")
    checked = TrainingRun(plain.specification, tiny.split(), device=torch.device("cpu"), gate=made)
    found = checked.train(batch()).finding
    plain.train(batch())
    assert same(checked, plain)
    assert found is not None
    assert found.reported == {"passed_clean": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss,action=repair,at=after", "action=repair chooses what the defender corrects"),
        ("loss,action=burn", "there is no value of 'action' of 'loss' called 'burn'"),
        ("loss,alarm=1", "alarm is a probability"),
        ("loss,speed=1", "action, alarm, at, threshold"),
        ("lss", "did you mean 'loss'"),
        ("midstream.attacks.noise:Noise", r"has no method judge\(batch, view\)"),
    ],
)
def test_what_cannot_be_a_checker_is_refused(text: str, message: str) -> None:
    with pytest.raises(plugins.PluginError, match=message):
        plugins.make_gate(text)


def test_repairing_needs_a_defender() -> None:
    with pytest.raises(MidstreamError, match="repairs nothing without a defender"):
        training(checker="loss,action=repair")


def test_none_is_no_checker() -> None:
    assert training(checker="none").gate is None
    assert training(checker="none").specification == training().specification
