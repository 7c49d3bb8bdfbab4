"""Level k ≥ 2: projected gradient ascent for the attacker, nested with the defender it expects.

Both follow `g(x) = ∇x U_t(x) = -η B_x v` at the fixed parameters θ_t, in pixel units: the paper's `Δ_k / ε`
on the unit ball is the step `Δ_k` on the ball of radius ε.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import Gradient, mixed_derivative
from midstream.mathematics.loss import Loss, cross_entropy

INFINITE = math.inf
SHARE = 0.25
"""How far a step after the first moves, as a share of ε; see `docs/levels.md` for what it was chosen by."""


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
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `ε δ` of the nested PGD, the level-k attack (paper Remark 1, eq. 9).

    From `δ = σ = 0`, `steps` times: the attacker moves, seeing the correction it expects,
    `δ ← Proj(δ + Δ_k g(x + δ + σ))`; the defender it expects answers, `σ ← Proj(σ - Δ_{k-1} g(x + δ + σ))`.
    With Δ infinite, the paper's practice, `Proj(… + Δ g)` is `ε e(±g)`: the first step is exactly level 1.
    Taken at every step it jumps across the ball and back and ends anywhere, often behind level 1; here the
    steps after the first move by a share of ε, `Proj(… ± share ε e(g))`. Every image is clamped to the pixel
    range before `g` is taken there. It costs `2·steps - 1` mixed derivatives.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: clean inputs, `(batch, *input)`.
        labels: their targets, `(batch,)`.
        validation_gradient: `v` at θ_t.
        budget: the attacker's ball.
        opponent: the ball of the defender it expects.
        steps: n_k ≥ 1; see `steps_by_rule`.
        learning_rate: η; it scales `g`, and so matters to finite steps only.
        step_size: Δ_k.
        opponent_step_size: Δ_{k-1}.
        share: of infinite steps, those after the first; infinite for the paper's practice.
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

    From `σ = 0`, `steps` times `σ ← Proj(σ - Δ_k g(x' + σ))`, at the inputs that arrived. Arguments are
    those of `level_k_attack`; it costs `steps` mixed derivatives, and one infinite step is exactly level 1.
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
) -> Tensor:
    """Return the attacker's `ε δ` by nested PGD along any gradient of the utility (paper Remark 1).

    `level_k_attack` is this with `-B_x v`; the exact utility has a gradient of its own.

    Args:
        gradient: `x → g(x)` up to a positive factor, which is then the step sizes'.
        inputs: clean inputs, `(batch, *input)`.
        budget: the attacker's ball.
        opponent: the ball of the defender it expects.
        steps: n_k ≥ 1.
        step_size: what `gradient` is multiplied by; infinite goes to the ball's edge.
        opponent_step_size: the expected defender's.
        share: see `level_k_attack`.
    """
    check_steps(steps)
    attack, answer = torch.zeros_like(inputs), torch.zeros_like(inputs)
    for step in range(steps):
        seen = opponent.perturb(budget.perturb(inputs, attack), answer)
        taken = INFINITE if step == 0 else share
        attack = _ascend(attack, gradient(seen), budget, step_size, taken)
        if step + 1 < steps:
            seen = opponent.perturb(budget.perturb(inputs, attack), answer)
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

    Arguments are those of `nested_ascent`, at the inputs that arrived.
    """
    check_steps(steps)
    answer = torch.zeros_like(inputs)
    for step in range(steps):
        downhill = -gradient(budget.perturb(inputs, answer))
        answer = _ascend(answer, downhill, budget, step_size, INFINITE if step == 0 else share)
    return answer


def step_size_by_rule(k: int, *, smoothness: float, epsilon: float) -> float:
    """Return `Δ_k = 1 / (M² k² (1 + 2Mε)^(k-2))` (paper Theorem 3).

    Args:
        k: the level, at least 2.
        smoothness: M.
        epsilon: ε, in pixel units.

    >>> round(1 / step_size_by_rule(4, smoothness=0.203, epsilon=3.0), 3)
    3.244
    """
    try:
        slope = smoothness**2 * k**2 * (1 + 2 * smoothness * epsilon) ** (k - 2)
    except OverflowError:
        return 0.0
    return 1 / slope if slope else INFINITE


def steps_by_rule(k: int, *, smoothness: float, epsilon: float, c: float) -> int:
    """Return `n_k = max(k, ⌈c / Δ_k⌉)`, the number of PGD steps at level k (paper B.3.2).

    Args:
        k: the level, at least 2.
        smoothness: M; the paper estimates 0.203 (MNIST), 0.351 (CIFAR-10) and 1.04 (256×256 photos).
        epsilon: ε, in pixel units.
        c: 2 (MNIST), 0.5 (CIFAR-10), 0.01 (256×256 photos); see `constant_of_rule`.

    Raises:
        ValueError: there is no such number, since M is none or too large.

    >>> [steps_by_rule(k, smoothness=0.203, epsilon=3.0, c=2.0) for k in (2, 3, 4)]
    [2, 3, 7]
    """
    size = step_size_by_rule(k, smoothness=smoothness, epsilon=epsilon)
    if not size > 0 or math.isinf(c / size):
        raise ValueError(
            f"M = {smoothness:g}, ε = {epsilon:g} and c = {c:g} give no number of PGD steps at level {k}; "
            f"say how many, as level-{k},steps=3"
        )
    return max(k, math.ceil(c / size))


def constant_of_rule(input_shape: Sequence[int]) -> float:
    """Return c of `steps_by_rule` for inputs of a shape: 2, 0.5 or 0.01 (paper B.3.2).

    The paper names a c for each of its three data sets and says nothing of others. A player sees the data,
    not their name, and M, which c has to make up for, grows with the number of pixels: so images get the c of
    the paper's data set of about their size, by the smaller side in the bounds of
    `midstream.networks.classifiers.auto`.
    What is no image gets 2, the most steps.

    Args:
        input_shape: of one input, `(channels, height, width)` of an image.

    >>> [constant_of_rule(shape) for shape in [(1, 28, 28), (3, 32, 32), (3, 256, 256), (20,)]]
    [2.0, 0.5, 0.01, 2.0]
    """
    if len(input_shape) != 3 or min(input_shape[1:]) <= 28:
        return 2.0
    return 0.5 if min(input_shape[1:]) < 128 else 0.01


def at_least_2(k: int) -> int:
    """Return a level that this file plays.

    Raises:
        ValueError: it is 0, which is called none, or 1, which has a closed form of its own.
    """
    if k < 2:
        raise ValueError(f"level {k} is {'level-1' if k == 1 else 'none'}; levels played by PGD begin at 2")
    return k


def check_steps(steps: int, *sizes: float, infinite: bool = False) -> None:
    """Refuse a number of PGD steps, or step sizes, that none can be taken with.

    Args:
        steps: how many.
        sizes: of the steps.
        infinite: whether a step may go to the ball's edge, however far that is.

    Raises:
        ValueError: there is no step, or its size is not above 0, or infinite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
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
