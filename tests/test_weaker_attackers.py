"""Attackers that see less, or are only some of several providers; any attacker can be one."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from cases import CONV, LOGISTIC
from torch import Tensor
from views import BUDGET, view

import midstream
from midstream import Batch, View, plugins, validation_gradient
from midstream.attacks.levels import Level1
from midstream.players.interface import Player
from midstream.players.wrappers.limited import Limited
from midstream.players.wrappers.providers import Providers
from midstream.storage.run_files import read_records


@dataclass
class Spy:
    """Remembers what it is shown."""

    seen: list[View] = field(default_factory=list)
    theta: list[Tensor] = field(default_factory=list)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.seen.append(view)
        self.theta.append(torch.cat([p.detach().flatten().clone() for p in view.model.parameters()]))
        return torch.ones_like(batch.inputs)


def moved(steps: int, attacker: Player, spy: Spy, first: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Play steps in which each parameter grows by 1; return the live θ and those that the attacker saw."""
    p, live = LOGISTIC.build(torch.float32), []
    for seq in range(first + steps):
        if seq >= first:
            live.append(torch.cat([v.detach().flatten().clone() for v in p.model.parameters()]))
            attacker.perturb(Batch(seq, p.inputs, p.labels), replace(view(p), parameters_version=seq))
        for parameter in p.model.parameters():
            parameter.data.add_(1.0)
    return live, spy.theta


def test_a_stale_attacker_sees_the_parameters_of_some_steps_ago() -> None:
    spy = Spy()
    live, seen = moved(5, Limited(inner=spy, stale=2), spy)
    assert [torch.equal(seen[t], live[max(0, t - 2)]) for t in range(5)] == [True] * 5
    assert [one.parameters_version for one in spy.seen] == [0, 0, 0, 1, 2]


def test_its_gradient_is_that_of_the_stale_parameters_and_the_optimizer_is_hidden() -> None:
    spy = Spy()
    moved(4, Limited(inner=spy, stale=3), spy)
    last = spy.seen[-1]
    wanted = validation_gradient(last.model, last.validation_inputs, last.validation_labels)
    for name, value in last.validation_gradient().items():
        assert torch.equal(value, wanted[name])
    with pytest.raises(LookupError, match="does not see the training optimizer"):
        last.training_step()


def test_its_memory_of_old_parameters_survives_a_restart() -> None:
    spy, other = Spy(), Spy()
    attacker = Limited(inner=spy, stale=2)
    _, straight = moved(6, attacker, spy)
    first, second = Limited(inner=other, stale=2), Limited(inner=other, stale=2)
    moved(3, first, other)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    assert len({name.split(".")[1] for name in state}) == 3  # as many versions as it needs
    second.load_state_dict(state)
    moved(3, second, other, first=3)
    assert all(torch.equal(a, b) for a, b in zip(straight, other.theta, strict=True))
    assert first.remembers
    assert not Limited(inner=spy, dval=0.5).remembers


def test_noise_has_the_size_that_was_asked_for_and_leaves_the_model_alone() -> None:
    p, spy = CONV.build(torch.float32), Spy()
    before = {name: value.clone() for name, value in p.model.state_dict().items()}
    attacker = Limited(inner=spy, theta_noise=0.5)
    for seq in (0, 0, 1):
        attacker.perturb(Batch(seq, p.inputs, p.labels), view(p))
    assert all(torch.equal(value, before[name]) for name, value in p.model.state_dict().items())
    assert torch.equal(spy.theta[0], spy.theta[1])
    assert not torch.equal(spy.theta[0], spy.theta[2])
    weight = p.model.get_parameter("4.weight").detach()
    blurred = spy.seen[0].model.get_parameter("4.weight").detach()
    found = ((blurred - weight).square().mean() / weight.square().mean()).sqrt()
    assert 0.35 < found < 0.65


def test_an_attacker_with_a_part_of_dval_has_the_gradient_of_that_part() -> None:
    p, spy = LOGISTIC.build(torch.float32, validation=20), Spy()
    Limited(inner=spy, dval=0.25).perturb(Batch(0, p.inputs, p.labels), view(p))
    seen = spy.seen[0]
    assert len(seen.validation_inputs) == len(seen.validation_labels) == 5
    rows = [int((p.validation_inputs == one).all(1).nonzero()) for one in seen.validation_inputs]
    assert torch.equal(seen.validation_labels, p.validation_labels[rows])
    wanted = validation_gradient(p.model, p.validation_inputs[rows], p.validation_labels[rows])
    assert all(torch.allclose(v, wanted[name]) for name, v in seen.validation_gradient().items())
    assert seen.model is p.model


@dataclass
class Composer(Spy):
    """Shows what it sees when it chooses its examples."""

    def compose(self, batch: Batch, view: View) -> Batch:
        self.perturb(batch, view)
        return batch


def test_it_sees_no_more_when_it_chooses_its_examples() -> None:
    p, spy = LOGISTIC.build(torch.float32, validation=20), Composer()
    attacker, batch = Limited(inner=spy, stale=2, dval=0.25), Batch(0, p.inputs, p.labels)
    for version in range(4):
        attacker.compose(batch, replace(view(p), parameters_version=version))
        attacker.perturb(batch, replace(view(p), parameters_version=version))
        for parameter in p.model.parameters():
            parameter.data.add_(1.0)
    composing, moving = spy.seen[::2], spy.seen[1::2]
    assert [one.parameters_version for one in composing] == [0, 0, 0, 1]
    assert all(torch.equal(a, b) for a, b in zip(spy.theta[::2], spy.theta[1::2], strict=True))
    for one, other in zip(composing, moving, strict=True):
        assert len(one.validation_labels) == 5
        assert all(
            torch.equal(v, other.validation_gradient()[n]) for n, v in one.validation_gradient().items()
        )
    with pytest.raises(LookupError):
        composing[0].training_step()


def test_all_of_dval_at_the_live_parameters_is_the_attacker_itself() -> None:
    p = CONV.build(torch.float32)
    batch = Batch(0, p.inputs, p.labels)
    plain, copied = Level1(), Limited(inner=Level1(), stale=1)
    assert torch.equal(plain.perturb(batch, view(p)), copied.perturb(batch, view(p)))


def test_only_adversarial_providers_attack() -> None:
    p, spy = LOGISTIC.build(torch.float32), Spy()
    attacker = Providers(inner=spy, providers=4, adversarial=1)
    touched, told = [], []
    for seq in range(12):
        seen = replace(view(p, BUDGET), reports={})
        touched.append(bool(attacker.perturb(Batch(seq, p.inputs, p.labels), seen).any()))
        told.append(seen.reports)
    assert sum(touched[:4]) == 1
    assert touched == touched[:4] * 3
    assert [report["provider"] for report in told] == [0, 1, 2, 3] * 3
    assert [report["adversarial"] for report in told] == [float(one) for one in touched]


def test_the_options_combine_around_any_attacker() -> None:
    attacker = plugins.make("attackers", "level-1,stale=3,dval=0.5,providers=2,fraction=0.5,beta=0.5")
    assert isinstance(attacker, Limited)
    assert (attacker.stale, attacker.dval) == (3, 0.5)
    assert isinstance(attacker.inner, Providers)
    assert attacker.inner.inner.fraction == 0.5  # type: ignore[attr-defined]
    assert attacker.inner.inner.inner.history.beta == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("stale=-1", "stale is a number of steps"),
        ("theta_noise=inf", "theta_noise is finite"),
        ("dval=0", "dval is a share"),
        ("providers=2,adversarial=3", "not 3 of 2"),
        ("stael=1", "did you mean 'stale'"),
    ],
)
def test_an_option_out_of_range_is_refused(options: str, words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.make("attackers", f"level-1,{options}")


@pytest.mark.slow
def test_a_weaker_game_that_was_interrupted_ends_in_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, object] = {
        **{"dataset": "digits", "train_size": 25, "validation_size": 40, "batch_size": 5, "epochs": 2},
        **{"device": "cpu", "threads": 1, "out": tmp_path, "follow": lambda *_: None},
        "attacker": "level-1,stale=2,theta_noise=0.1,dval=0.5,providers=3,adversarial=2",
    }
    whole = midstream.play(**settings, run="whole")  # type: ignore[arg-type]
    with midstream.Game(**settings, run="cut") as game:  # type: ignore[arg-type]
        for step in game:
            if step.seq == 4:
                break
    again = midstream.play(**settings, run="cut")  # type: ignore[arg-type]
    assert again.parameters_sha256 == whole.parameters_sha256
    told = [record["attacker"] for record in read_records(whole.folder / "metrics.jsonl")]
    assert [one["provider"] for one in told] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert sum(one["adversarial"] for one in told[:3]) == 2
