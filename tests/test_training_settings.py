"""Optimizers, schedules, clipping and accumulation of a run, against loops that use torch alone."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_training import batch, equal, run, state
from torch import Tensor, nn
from torch.optim import lr_scheduler

from midstream.mathematics.derivatives.gradients import validation_gradient
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.players.interface import Batch
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.run.optimizing.next_step import NextStep, UnmodelledStepError
from midstream.run.optimizing.optimizers import check
from midstream.run.optimizing.state import OptimizerStateError
from midstream_server.runs.training import TrainingRun

STEPS = 6
HERE = "test_training_settings"
Build = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
Settings = dict[str, Any]

OPTIMIZERS: dict[str, Build] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam,weight_decay=0.1,amsgrad=true": lambda p: torch.optim.Adam(
        p, lr=0.01, weight_decay=0.1, amsgrad=True
    ),
    "adam,beta1=0.8,beta2=0.95,eps=1e-6": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-6),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "sgd,momentum=0.9,nesterov=true,weight_decay=1e-2": lambda p: torch.optim.SGD(
        p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-2
    ),
    "sgd,momentum=0.9,dampening=0.5": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.5),
    "rmsprop,momentum=0.5": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "rmsprop,centered=true,alpha=0.9": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, centered=True),
    "torch.optim:NAdam,momentum_decay=0.01": lambda p: torch.optim.NAdam(p, lr=0.01, momentum_decay=0.01),
}
FEW: Settings = {"model": "logistic", "learning_rate": 0.01}


def gradients(model: nn.Module, on: Batch) -> None:
    F.cross_entropy(model(on.inputs), on.labels, reduction="sum").backward()  # type: ignore[no-untyped-call]


def played(made: TrainingRun, start: int = 0, stop: int = STEPS) -> TrainingRun:
    for seq in range(start, stop):
        made.train(batch(seq))
    return made


def bits(made: TrainingRun) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in made.model.named_parameters()}


@pytest.mark.parametrize("text", OPTIMIZERS)
def test_an_optimizer_takes_the_steps_of_torchs_to_the_bit(text: str) -> None:
    made, plain = run("none", optimizer=text, **FEW), run("none", **FEW)
    optimizer = OPTIMIZERS[text](plain.model.parameters())
    for seq in range(STEPS):
        optimizer.zero_grad()
        gradients(plain.model, batch(seq))
        optimizer.step()
    assert equal(bits(played(made)), bits(plain))


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int, int], lr_scheduler.LRScheduler]] = {
    "constant": lambda o, _, __: lr_scheduler.LambdaLR(o, lambda _: 1.0),
    "cosine": lambda o, steps, _: lr_scheduler.CosineAnnealingLR(o, T_max=steps),
    "cosine,warmup=5,final=0.1": lambda o, steps, _: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, start_factor=1 / 5, total_iters=4),
            lr_scheduler.CosineAnnealingLR(o, T_max=steps - 5, eta_min=0.03),
        ],
        milestones=[5],
    ),
    "step,every=2,gamma=0.5": lambda o, _, epoch: lr_scheduler.StepLR(o, step_size=2 * epoch, gamma=0.5),
    "one-cycle": lambda o, steps, _: lr_scheduler.OneCycleLR(
        o, max_lr=0.3, total_steps=steps, cycle_momentum=False
    ),
    "one-cycle,warmup=0.2,start=10,end=100": lambda o, steps, _: lr_scheduler.OneCycleLR(
        o,
        max_lr=0.3,
        total_steps=steps,
        pct_start=0.2,
        div_factor=10,
        final_div_factor=100,
        cycle_momentum=False,
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("steps", [40, 37])
@pytest.mark.parametrize("text", SCHEDULES)
def test_a_schedule_has_the_learning_rates_of_torchs(text: str, steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = SCHEDULES[text](optimizer, steps, 4)
    specification = Specification.model_validate({"schedule": text, "learning_rate": 0.3})
    after = NextStep(specification, total_steps=steps, steps_per_epoch=4)
    for number in range(steps):
        assert after.rate(number) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        optimizer.step()
        if number + 1 < steps:
            scheduler.step()


def test_a_run_steps_at_the_rates_of_its_schedule_and_with_clipped_gradients() -> None:
    made = run("none", optimizer="sgd,momentum=0.5", schedule="step,every=1", clip_norm=2.0, **FEW)
    plain = run("none", **FEW)
    optimizer = torch.optim.SGD(plain.model.parameters(), lr=0.01, momentum=0.5)
    norms = []
    for seq in range(STEPS):
        optimizer.zero_grad()
        gradients(plain.model, batch(seq))
        norms.append(float(nn.utils.clip_grad_norm_(plain.model.parameters(), 2.0)))
        optimizer.param_groups[0]["lr"] = 0.01 * 0.1 ** (seq // 3)
        assert made.learning_rate == made.view().learning_rate == optimizer.param_groups[0]["lr"]
        optimizer.step()
        made.train(batch(seq))
    assert min(norms) > 2.0
    assert equal(bits(made), bits(plain))


@pytest.mark.parametrize("max_steps", [6, 5])
def test_accumulated_gradients_add_up_to_one_step_and_the_last_batch_always_steps(max_steps: int) -> None:
    made = run("none", accumulate=2, schedule="cosine", max_steps=max_steps, **FEW)
    plain = run("none", **FEW)
    optimizer = torch.optim.Adam(plain.model.parameters(), lr=0.01)
    for seq in range(max_steps):
        gradients(plain.model, batch(seq))
        made.train(batch(seq))
        if seq % 2 == 1 or seq + 1 == max_steps:
            optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * (seq // 2) / 3)) / 2
            optimizer.step()
            optimizer.zero_grad()
        assert equal(bits(made), bits(plain))


class Counting(torch.optim.SGD):
    """SGD that remembers more than tensors, in its state and in its groups, and uses both."""

    def __init__(self, params: Any, lr: float, boost: float = 0.5) -> None:
        super().__init__(params, lr=lr, momentum=0.9)
        self.param_groups[0]["taken"] = 0
        self.boost = boost

    def step(self, closure: Any = None) -> Any:
        group = self.param_groups[0]
        group["taken"] += 1
        for parameter in group["params"]:
            seen = self.state[parameter].setdefault("seen", [0])
            seen[0] += 1
            parameter.grad *= 1 + self.boost / (seen[0] + group["taken"])
        return super().step(closure)


MIXED: dict[str, Settings] = {
    "warm": {"optimizer": "sgd,momentum=0.9,nesterov=true", "schedule": "cosine,warmup=2", "clip_norm": 1.0},
    "adamw": {"optimizer": "adamw,weight_decay=0.1", "schedule": "one-cycle"},
    "rmsprop": {"optimizer": "rmsprop,centered=true,momentum=0.5", "schedule": "step,every=1"},
    "accumulated": {"accumulate": 2, "schedule": "cosine"},
    "own": {"optimizer": f"{HERE}:Counting,boost=0.7", "accumulate": 4},
    "torchs": {"optimizer": "torch.optim:NAdam", "schedule": "cosine"},
}


@pytest.mark.parametrize("settings", MIXED.values(), ids=MIXED)
def test_a_resume_at_any_step_ends_in_the_same_bits(settings: Settings) -> None:
    whole = run("none", **FEW, **settings)
    saved = [state(whole)]
    for seq in range(STEPS):
        whole.train(batch(seq))
        saved.append(state(whole))
    for step in (1, 3, 5):
        resumed = run("none", **FEW, **settings)
        resumed.load_state_dict(saved[step], step=step)
        assert equal(state(played(resumed, step)), saved[-1])


def test_settings_make_games_of_their_own_and_plain_ones_mean_what_they_meant() -> None:
    ends = [bits(played(run("none", **FEW, **settings))) for settings in ({}, *MIXED.values())]
    assert all(not equal(one, other) for n, one in enumerate(ends) for other in ends[:n])
    plain = run("none", **FEW, optimizer="adam", schedule="constant", accumulate=1)
    assert equal(bits(played(plain)), ends[0])
    dumped = plain.specification.model_dump()
    assert (dumped["schedule"], dumped["clip_norm"], dumped["accumulate"]) == (None, None, None)


EXACT: dict[str, Settings] = {
    **{name: MIXED[name] for name in ("warm", "adamw")},
    "rmsprop": {"optimizer": "rmsprop,momentum=0.5", "schedule": "step,every=1", "clip_norm": 0.5},
}


@pytest.mark.parametrize("settings", EXACT.values(), ids=EXACT)
def test_the_modelled_steps_are_those_that_the_run_takes(settings: Settings) -> None:
    made = played(run("none", **FEW, **settings), stop=2)
    step: TrainingStep = made.view().training_step()
    values = bits(made)
    for seq in range(2, 5):
        now = batch(seq)
        gradient = validation_gradient(made.model, now.inputs, now.labels)
        after, step = step.stepped(values, gradient)
        made.train(now)
        values = bits(made)
        for name, value in values.items():
            assert (after[name] - value).abs().max() <= 1e-5 * value.abs().max()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "torch.optim:NAdam"}, "a step of NAdam is not modelled; train with one of SGD, Adam,"),
        ({"optimizer": "adam,amsgrad=true"}, "Adam step with amsgrad=True"),
        ({"optimizer": "rmsprop,centered=true"}, "RMSprop step with centered=True"),
        ({"optimizer": f"{HERE}:Counting"}, "a step of Counting is not modelled"),
        ({"accumulate": 2}, "the sum of 2 minibatches' gradients is not modelled; the exact utility needs"),
    ],
)
def test_the_exact_utility_refuses_other_steps_by_name(settings: Settings, words: str) -> None:
    made = run("none", **FEW, **settings)
    with pytest.raises(UnmodelledStepError, match=words):
        made.view().training_step()
    described = made.description()
    assert described.unmodelled is not None
    assert words in described.unmodelled
    assert described.optimizer == made.specification.optimizer


def no_optimizer(parameters: Any, lr: float) -> Any:
    return [parameters, lr]


def without_a_rate(parameters: Any, lr: float) -> Any:
    made = torch.optim.SGD(parameters, lr=lr)
    del made.param_groups[0]["lr"]
    return made


@pytest.mark.parametrize(
    ("optimizer", "schedule", "words"),
    [
        ("lion", None, "there is no optimizer called 'lion'. Known: adam, adamw, rmsprop, sgd"),
        ("sgd,momentun=0.9", None, "no option of optimizer 'sgd' called 'momentun'; did you mean 'momentum'"),
        ("sgd,nesterov=true", None, "optimizer 'sgd,nesterov=true': Nesterov momentum requires a momentum"),
        ("sgd,lr=0.1", None, "'sgd,lr=0.1' sets a learning rate; set it by --lr"),
        ("torch.optim:LBFGS", None, "computes the loss again in each step, by a closure"),
        (f"{HERE}:no_optimizer", None, "is a list, not a torch.optim.Optimizer"),
        (f"{HERE}:without_a_rate", None, "has no 'lr' in its parameter groups"),
        ("adam", "cosin", "there is no schedule called 'cosin'; did you mean 'cosine'"),
        ("adam", "step", "schedule 'step' needs the option 'every'; write step,every=…"),
        ("adam", "step,every=0", "every must be at least 1"),
        ("adam", "cosine,final=2", "final in [0, 1], not 0 and 2.0"),
        ("adam", "one-cycle,warmup=1", "warmup must be in (0, 1)"),
    ],
)
def test_what_cannot_train_is_refused_in_words(optimizer: str, schedule: str | None, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        check(optimizer, schedule)
    assert words in str(caught.value)


def test_a_defender_that_rehearses_does_not_go_with_accumulation() -> None:
    with pytest.raises(ValueError, match="'train-on-validation' has the run step on further batches after"):
        run("train-on-validation", **FEW, accumulate=2)
    with pytest.raises(ValueError, match="leave one out"):
        run("level-1+train-on-validation", **FEW, accumulate=2)


class Forgetful(torch.optim.SGD):
    """SGD whose state does not come back."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr, momentum=0.9)

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict({**state_dict, "state": {}})


class Hiding(torch.optim.SGD):
    """SGD with a state that is no number."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["hidden"] = object()


class Failing(torch.optim.SGD):
    """SGD that cannot step."""

    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        raise RuntimeError("out of steps")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Forgetful", r"'0\.momentum_buffer' of its state_dict differs after load_state_dict"),
        ("Hiding", "no run with it could resume: .*keep tensors, numbers and texts in it"),
        ("Failing", r"failed at a step on a matrix of 2×2: RuntimeError\('out of steps'\)"),
    ],
)
def test_an_own_optimizer_that_could_not_resume_is_refused_before_the_game(name: str, words: str) -> None:
    with pytest.raises(OptimizerStateError, match=words):
        run("none", **FEW, optimizer=f"{HERE}:{name}")
