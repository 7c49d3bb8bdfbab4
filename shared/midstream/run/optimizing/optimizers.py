"""The training optimizer and the schedule of its learning rate, by name and options."""

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import nn, optim

from midstream import plugins
from midstream.mathematics.optimizers.schedules import Constant, Cosine, OneCycle, Schedule, Step
from midstream.players.culprit import place
from midstream.plugins.naming import PluginError, unknown
from midstream.run.process.without_compiler import defer_compiler

Parameters = Iterable[nn.Parameter]


def adam(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> optim.Adam:
    """Return Adam (Kingma and Ba, 2015); its weight decay is an L2 penalty on the sum of the losses."""
    return optim.Adam(
        parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
    )


def adamw(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    amsgrad: bool = False,
) -> optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, 2019), whose weight decay acts on the parameters themselves."""
    return optim.AdamW(
        parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
    )


def sgd(
    parameters: Parameters,
    lr: float,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optim.SGD:
    """Return stochastic gradient descent; its weight decay is an L2 penalty on the sum of the losses."""
    return optim.SGD(
        parameters,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )


def rmsprop(
    parameters: Parameters,
    lr: float,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    centered: bool = False,
) -> optim.RMSprop:
    """Return RMSprop (Tieleman and Hinton, 2012)."""
    return optim.RMSprop(
        parameters,
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        weight_decay=weight_decay,
        centered=centered,
    )


OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "sgd": sgd,
}
"""The optimizers by name."""

SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one-cycle": OneCycle,
    "step": Step,
}
"""The schedules by name."""


def make_optimizer(
    text: str, parameters: Parameters, learning_rate: float, *, allowed: Collection[str] | None = None
) -> optim.Optimizer:
    """Return the optimizer that `name,option=value,…` describes.

    Args:
        text: a name in `OPTIMIZERS`, or `package.module:Class` or `path/file.py:Class`, and options. A class
            of your own is called with the parameters and `lr`, as those of torch are.
        parameters: what it trains.
        learning_rate: η.
        allowed: the dotted paths and files that may be imported, if the text arrived over a network; None
            allows all.

    Raises:
        midstream.plugins.PluginError: there is no such optimizer, it is not allowed, it cannot be built, or
            it is none that a run can train with.

    >>> layer = nn.Linear(2, 2)
    >>> make_optimizer("sgd,momentum=0.9,nesterov=true", layer.parameters(), 0.1).defaults["nesterov"]
    True
    """
    name, options = plugins.parse(text)
    if "lr" in options or "learning_rate" in options:
        raise PluginError(f"{text!r} sets a learning rate; set it by --lr (learning_rate), not as an option")
    factory = OPTIMIZERS.get(name)
    if factory is None:
        known = [*OPTIMIZERS, *plugins.names("optimizers")]
        if ":" not in name and name not in known:
            raise PluginError(unknown("optimizer", name, known, "package.module:Class or path/file.py:Class"))
        factory = plugins.find("optimizers", name, allowed=allowed)
    build = plugins.bound(factory, name, options, "optimizer", given=1, supplied=("lr",))
    optimizer = _built(lambda: build(list(parameters), lr=learning_rate), f"optimizer {text!r}")
    if not isinstance(optimizer, optim.Optimizer):
        raise PluginError(f"optimizer {text!r} is a {type(optimizer).__name__}, not a torch.optim.Optimizer")
    if any("lr" not in group for group in optimizer.param_groups):
        raise PluginError(f"optimizer {text!r} has no 'lr' in its parameter groups, so no --lr can be set")
    try:
        inspect.signature(optimizer.step).bind()
    except TypeError as error:
        raise PluginError(
            f"optimizer {text!r} computes the loss again in each step, by a closure: a batch arrives once, "
            f"so it cannot train here"
        ) from error
    return optimizer


def make_schedule(text: str | None) -> Schedule:
    """Return the schedule that `name,option=value,…` describes; None is `constant`.

    Raises:
        midstream.plugins.PluginError: there is no such schedule, or an option is unknown, missing or wrong.

    >>> make_schedule("cosine,warmup=5")
    Cosine(warmup=5, final=0.0)
    """
    text = text or "constant"
    name, options = plugins.parse(text)
    if name not in SCHEDULES:
        raise PluginError(unknown("schedule", name, SCHEDULES))
    made: Schedule = _built(plugins.bound(SCHEDULES[name], name, options, "schedule"), f"schedule {text!r}")
    return made


def check(optimizer: str, schedule: str | None) -> None:
    """Refuse an optimizer or a schedule before a game starts.

    Raises:
        midstream.plugins.PluginError: as for `make_optimizer` and `make_schedule`.
    """
    defer_compiler()  # each optimizer of torch asks for it
    make_optimizer(optimizer, [nn.Parameter(torch.zeros(1))], 0.1)
    make_schedule(schedule)


def _built(build: Callable[[], object], what: str) -> Any:
    try:
        return build()
    except PluginError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, (ValueError, TypeError)) else repr(error)
        raise PluginError(f"{what}: {reason}{place(error)}") from error
