"""Level k ≥ 2: projected gradient ascent for the attacker, nested with the defender it expects.

Both follow `g(x) = ∇x U_t(x) = -η B_x v` at the fixed parameters θ_t, in pixel units: the paper's `Δ_k / ε`
on the unit ball is the step `Δ_k` on the ball of radius ε. `midstream.mathematics.level_k_rules` holds the
paper's rules for Δ_k and n_k.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import Gradient, mixed_derivative
from midstream.mathematics.loss import Loss, cross_entropy

INFINITE = math.inf
SHARE = 0.25
"""Length of each step after the first, as a share of ε; `docs/levels.md` says why this value."""


def level_k_attack(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    validation_gradient: Gradient,
    budget: Budget,
    opponent: Budget,
    steps: int,
    learning_rate: float,
    step_size: float = INFINITE,
    opponent_step_size: float = INFINITE,
    share: float = SHARE,
    start: Tensor | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `ε δ` of the nested PGD, the level-k attack (paper Remark 1, eq. 9).

    From `δ = σ = 0`, `steps` times: the attacker moves against the correction it expects,
    `δ ← Proj(δ + Δ_k g(x + δ + σ))`; the expected defender answers, `σ ← Proj(σ - Δ_{k-1} g(x + δ + σ))`.
    With Δ infinite, the paper's practice, `Proj(… + Δ g)` is `ε e(±g)`: the first step is exactly level 1.
    If every step is infinite, the iterates jump across the ball and often end below level 1's utility. Here
    the steps after the first move by a share of ε, `Proj(… ± share ε e(g))`. Every image is clamped to the
    pixel range before `g` is computed there. It costs `2·steps - 1` mixed derivatives.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: clean inputs, `(batch, *input)`.
        labels: their targets, `(batch,)`.
        validation_gradient: `v` at θ_t.
        budget: the attacker's ball.
        opponent: the ball of the defender it expects.
        steps: n_k ≥ 1; see `midstream.steps_by_rule`.
        learning_rate: η; it scales `g`, so only finite steps depend on it.
        step_size: Δ_k.
        opponent_step_size: Δ_{k-1}.
        share: length of the infinite steps after the first, as a share of ε; infinite as in the paper.
        start: the first `ε δ`, shaped like `inputs`, in pixel units; None for 0, the paper's.
        loss: a loss that sums over its batch.

    >>> import midstream
    >>> model = nn.Linear(4, 3)
    >>> x, y, ball = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]), Budget(0.5)
    >>> v = midstream.validation_gradient(model, x, y)
    >>> one = level_k_attack(
    ...     model, x, y, validation_gradient=v, budget=ball, opponent=ball, steps=1, learning_rate=0.01
    ... )
    >>> torch.equal(one, midstream.level_1_attack(model, x, y, validation_gradient=v, budget=ball))
    True
    """
    check_steps(steps, step_size, opponent_step_size, share, infinite=True)
    return nested_ascent(
        lambda at: -mixed_derivative(model, at, labels, validation_gradient, loss=loss),
        inputs,
        budget=budget,
        opponent=opponent,
        steps=steps,
        step_size=_scaled(step_size, learning_rate),
        opponent_step_size=_scaled(opponent_step_size, learning_rate),
        share=share,
        start=start,
    )


def level_k_defense(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    validation_gradient: Gradient,
    budget: Budget,
    steps: int,
    learning_rate: float,
    step_size: float = INFINITE,
    share: float = SHARE,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `ε σ` of the PGD, the level-k defence (paper Remark 2, eq. 10).

    From `σ = 0`, `steps` times `σ ← Proj(σ - Δ_k g(x' + σ))`, at the received inputs x'. The arguments are
    those of `level_k_attack`. It costs `steps` mixed derivatives; one infinite step is exactly level 1.
    """
    check_steps(steps, step_size, share, infinite=True)
    return descent(
        lambda at: -mixed_derivative(model, at, labels, validation_gradient, loss=loss),
        inputs,
        budget=budget,
        steps=steps,
        step_size=_scaled(step_size, learning_rate),
        share=share,
    )


def nested_ascent(
    gradient: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    budget: Budget,
    opponent: Budget,
    steps: int,
    step_size: float = INFINITE,
    opponent_step_size: float = INFINITE,
    share: float = SHARE,
    start: Tensor | None = None,
) -> Tensor:
    """Return the attacker's `ε δ` by nested PGD along any gradient of the utility (paper Remark 1).

    `level_k_attack` passes `-B_x v`; the exact utility passes its own gradient.

    Args:
        gradient: `x → g(x)` up to a positive factor, by which the caller multiplies the step sizes.
        inputs: clean inputs, `(batch, *input)`.
        budget: the attacker's ball.
        opponent: the ball of the defender it expects.
        steps: n_k ≥ 1.
        step_size: factor of `gradient`; an infinite step goes to the ball's edge.
        opponent_step_size: the expected defender's step size.
        share: see `level_k_attack`.
        start: see `level_k_attack`.
    """
    check_steps(steps)
    budget.check(inputs)
    attack = torch.zeros_like(inputs) if start is None else start
    answer = torch.zeros_like(inputs)
    for step in range(steps):
        seen = opponent.moved(budget.moved(inputs, attack), answer)
        taken = INFINITE if step == 0 else share
        attack = _ascend(attack, gradient(seen), budget, step_size, taken)
        if step + 1 < steps:
            seen = opponent.moved(budget.moved(inputs, attack), answer)
            answer = _ascend(answer, -gradient(seen), opponent, opponent_step_size, taken)
    return attack


def descent(
    gradient: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    budget: Budget,
    steps: int,
    step_size: float = INFINITE,
    share: float = SHARE,
) -> Tensor:
    """Return the defender's `ε σ` by PGD down any gradient of the utility (paper Remark 2).

    The arguments are those of `nested_ascent`; `inputs` are the received ones.
    """
    check_steps(steps)
    budget.check(inputs)
    answer = torch.zeros_like(inputs)
    for step in range(steps):
        downhill = -gradient(budget.moved(inputs, answer))
        answer = _ascend(answer, downhill, budget, step_size, INFINITE if step == 0 else share)
    return answer


def at_least_2(k: int) -> int:
    """Return k if level k is played by PGD.

    Raises:
        ValueError: k is 0, which is `none`, or 1, which has a closed form.
    """
    if k < 2:
        raise ValueError(f"level {k} is {'level-1' if k == 1 else 'none'}; levels played by PGD begin at 2")
    return k


def check_steps(steps: int, *sizes: float, infinite: bool = False, called: str = "steps") -> None:
    """Check a number of PGD steps and the step sizes.

    Args:
        steps: how many.
        sizes: the step sizes.
        infinite: whether a step size may be infinite: the step then goes to the ball's edge.
        called: the name of the option that says how many, for the message.

    Raises:
        ValueError: there is no step; or a step size is 0, negative, NaN, or infinite and may not be.
    """
    if steps < 1:
        raise ValueError(f"{called} must be at least 1, not {steps}")
    for size in sizes:
        if not size > 0 or (math.isinf(size) and not infinite):
            raise ValueError(f"a step size must be above 0{' and finite' * (not infinite)}, not {size}")


def _scaled(step_size: float, factor: float) -> float:
    return step_size if math.isinf(step_size) else factor * step_size


def _ascend(perturbation: Tensor, gradient: Tensor, budget: Budget, step_size: float, share: float) -> Tensor:
    if not math.isinf(step_size):
        return budget.project(perturbation + step_size * gradient)
    edge = budget.epsilon * budget.direction(gradient)
    return edge if math.isinf(share) else budget.project(perturbation + share * edge)
