"""Reads the next step of a live torch optimizer, or refuses one that is not modelled."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.momentum_sgd import MomentumSgd
from midstream.mathematics.optimizers.rmsprop import Rmsprop
from midstream.mathematics.optimizers.training_step import Adam, Grouped, Sgd, TrainingStep

MODELLED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
"""Optimizers whose step is modelled exactly, unless an option in `_NOT_MODELLED` is set."""

_NOT_MODELLED = ("amsgrad", "centered", "maximize")


def training_step(optimizer: torch.optim.Optimizer, model: nn.Module) -> TrainingStep:
    """Return the next step of a live optimizer, with its moments under the model's parameter names.

    The moments are the optimizer's own tensors, not copies. A trainable parameter that the optimizer does not
    hold stays constant; parameters of other models are ignored. Changes to gradients or learning rate between
    two steps, by a scheduler, gradient clipping or a `GradScaler`, are not part of the optimizer and not seen
    here: all later steps use the present learning rate.

    Args:
        optimizer: a `torch.optim.SGD`, `Adam`, `AdamW` or `RMSprop`, but neither `amsgrad` nor `centered` nor
            `maximize`; its parameter groups may have different settings.
        model: the model that the optimizer trains.

    Returns:
        `Sgd`, `MomentumSgd`, `Adam` or `Rmsprop`; `Grouped` if there are several groups, or parameters that
        the optimizer does not hold.

    Raises:
        ValueError: the optimizer is of another type, has an option that is not modelled or a hook, holds none
            of the model's trainable parameters, or holds one of them twice.

    >>> model = nn.Linear(2, 2)
    >>> training_step(torch.optim.SGD(model.parameters(), lr=0.1), model)
    Sgd(learning_rate=0.1)
    >>> training_step(torch.optim.SGD([model.bias], lr=0.1), model)
    Grouped(groups=((('bias',), Sgd(learning_rate=0.1)),))
    """
    kind = type(optimizer).__name__
    if type(optimizer) not in MODELLED:
        listed = ", ".join(one.__name__ for one in MODELLED)
        raise ValueError(f"a step of {kind} is not modelled; train with one of {listed}")
    _refuse_hooks(optimizer)
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    held: set[str] = set()
    groups = []
    for group in optimizer.param_groups:
        own = {names[id(p)]: p for p in group["params"] if id(p) in names}
        twice = [names[id(p)] for p in group["params"] if id(p) in names]
        if again := sorted(held & own.keys()) or sorted({n for n in twice if twice.count(n) > 1}):
            raise ValueError(
                f"this {kind} holds parameter {again[0]!r} twice, and would step it twice; give it each "
                f"parameter once"
            )
        held |= own.keys()
        if own:
            groups.append((tuple(own), _step(optimizer, group, own)))
    if not groups:
        raise ValueError(
            f"this {kind} holds none of the {len(names)} trainable parameters of this "
            f"{type(model).__name__}; give the optimizer that trains it"
        )
    return groups[0][1] if len(groups) == 1 and len(held) == len(names) else Grouped(tuple(groups))


def _step(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], own: Mapping[str, nn.Parameter]
) -> TrainingStep:
    """Return the step of one group; `own` holds the model's parameters in this group, by name."""
    kind, one = type(optimizer).__name__, next(iter(own))
    if refused := [name for name in _NOT_MODELLED if group.get(name)]:
        settings = ", ".join(f"{name}={group[name]}" for name in refused)
        raise ValueError(
            f"a {kind} step with {settings}, as of parameter {one!r}, is not modelled; "
            f"leave these options off"
        )
    learning_rate, decay = float(group["lr"]), float(group["weight_decay"])
    states = {name: optimizer.state[p] for name, p in own.items() if optimizer.state.get(p)}

    def moment(key: str) -> Gradient:
        return {name: state[key].detach() for name, state in states.items() if state.get(key) is not None}

    if isinstance(optimizer, torch.optim.SGD):
        if not group["momentum"] and not decay:
            return Sgd(learning_rate)
        return MomentumSgd(
            learning_rate,
            momentum=float(group["momentum"]),
            dampening=float(group["dampening"]),
            nesterov=group["nesterov"],
            weight_decay=decay,
            velocity=moment("momentum_buffer"),
        )
    if wrong := [name for name, p in own.items() if p.is_complex()]:
        article = "an" if kind.startswith("A") else "a"
        raise ValueError(
            f"{article} {kind} step of complex numbers, those of parameter {wrong[0]!r}, is not modelled"
        )
    if isinstance(optimizer, torch.optim.RMSprop):
        return Rmsprop(
            learning_rate,
            alpha=float(group["alpha"]),
            epsilon=group["eps"],
            momentum=float(group["momentum"]),
            weight_decay=decay,
            second=moment("square_avg"),
            velocity=moment("momentum_buffer"),
        )
    steps = {name: int(states[name]["step"]) if name in states else 0 for name in own}
    count = max(steps.values())
    beta1, beta2 = group["betas"]
    return Adam(
        learning_rate,
        float(beta1),
        float(beta2),
        group["eps"],
        count=count,
        first=moment("exp_avg"),
        second=moment("exp_avg_sq"),
        counts={name: steps[name] for name in own if steps[name] != count},
        weight_decay=decay,
        decoupled=bool(decay) and group["decoupled_weight_decay"],
    )


def _refuse_hooks(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer with hooks, which may change the step."""
    hooks = [
        *optimizer._optimizer_step_pre_hooks.values(),
        *optimizer._optimizer_step_post_hooks.values(),
        *_global_optimizer_pre_hooks.values(),
        *_global_optimizer_post_hooks.values(),
    ]
    if hooks:
        raise ValueError(
            f"this {type(optimizer).__name__} calls {getattr(hooks[0], '__qualname__', repr(hooks[0]))} at "
            f"each step, which is not modelled; remove the hook"
        )
