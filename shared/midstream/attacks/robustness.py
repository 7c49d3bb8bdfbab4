"""Test-time robustness: how often a trained model is right on inputs perturbed after its training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from midstream.attacks.cw import Search, carlini_wagner
from midstream.attacks.input_gradient import input_gradient
from midstream.attacks.pgd import pgd
from midstream.attacks.yopo import STEP_SIZE as YOPO_STEP
from midstream.attacks.yopo import yopo
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import CHUNK, chunks

CW_CHUNK = 50
"""Inputs searched at a time by CW: fewer, so that something is told in between."""

_CW_COSTS = 100
"""What CW takes for an input, very roughly, in units of what all the others take for it."""

ZERO_GRADIENTS = 0.01
"""Share of the inputs without a gradient above which an attack along it says little."""

Tell = Callable[[int, int, str], None]
"""Told the work done, all the work, and what is being done."""

_Move = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class SmallestChanges:
    """What CW found for the inputs that the model gets right.

    Attributes:
        inputs: how many these were.
        success_rate: share of them for which a change was found that the model takes for another class.
        median_distance: L2 norm of the changes found, their median, in pixel units; None without any.
    """

    inputs: int
    success_rate: float
    median_distance: float | None


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """How often a model is right, as shares of the inputs in [0, 1].

    Attributes:
        inputs: how many there were.
        epsilon: the L∞ radius of `yopo` and `pgd`.
        clean: on the inputs as they are.
        yopo: under YOPO-5-3.
        pgd: under FGSM-PGD, 5 steps.
        fgsm: under FGSM, to check `pgd` by.
        pgd_doubled: under FGSM-PGD at twice the radius, to check it by.
        zero_gradients: share of the inputs at which `∇x L` is zero in every pixel.
        cw: under CW, which has no radius; None where it was left out, or the model gets no input right.
    """

    inputs: int
    epsilon: float
    clean: float
    yopo: float
    pgd: float
    fgsm: float
    pgd_doubled: float
    zero_gradients: float
    cw: SmallestChanges | None


def robustness(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    cw_inputs: int = 0,
    search: Search | None = None,
    tell: Tell = lambda *_: None,
) -> Robustness:
    """Return how a trained model stands up to attacks on its inputs, labels known (paper A.2.7, Table A.8).

    YOPO-5-3 and FGSM-PGD with 5 steps raise each input's loss within the L∞ ball, steps of ε/4 and
    2.5ε/5, from the input itself, no restarts. CW looks for the smallest L2 change that the model takes for
    another class.

    Args:
        model: returns logits; it is not changed.
        inputs: `(examples, *input)`, as stored: float32 in [0, 1], or uint8.
        labels: their classes, `(examples,)`.
        epsilon: the L∞ radius, in pixel units.
        cw_inputs: how many of the inputs, from the first on, CW is played on.
        search: CW's constants, the original ones by default.
        tell: told how far it got.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.eye(2))
    >>> x, y = torch.tensor([[0.8, 0.4], [0.4, 0.5]]), torch.tensor([0, 1])
    >>> found = robustness(model, x, y, epsilon=0.1, cw_inputs=2)
    >>> found.clean, found.pgd, found.cw.success_rate  # the first is 0.2 from the border, the second 0.05
    (1.0, 0.5, 1.0)
    """
    ball = Budget(epsilon, "linf")
    moves: dict[str, _Move] = {
        "clean": lambda _, x, __: torch.zeros_like(x),
        "yopo": partial(yopo, budget=ball, outer=5, inner=3, step_size=YOPO_STEP),
        "pgd": partial(pgd, budget=ball, steps=5, step_size=2.5 / 5),
        "fgsm": partial(pgd, budget=ball, steps=1, step_size=1.0),
        "pgd_doubled": partial(pgd, budget=Budget(2 * epsilon, "linf"), steps=5, step_size=2.5 / 5),
    }
    done, work = 0, len(inputs) + _CW_COSTS * cw_inputs
    right: dict[str, list[Tensor]] = {name: [] for name in moves}
    flat = 0
    for x, y in chunks(inputs, labels, CHUNK):
        for name, moved in moves.items():
            tell(done, work, name.replace("_", " "))
            right[name].append(_right(model, x + moved(model, x, y), y))
        flat += int((input_gradient(model, x, y).flatten(1) == 0).all(dim=1).sum())
        done += len(x)
    shares = {name: torch.cat(parts).double().mean().item() for name, parts in right.items()}
    found = torch.cat(right["clean"])[:cw_inputs].nonzero()[:, 0]
    work = done + _CW_COSTS * len(found)
    changes = _changes(
        model, inputs[found], labels[found], search, lambda some: tell(done + _CW_COSTS * some, work, "CW")
    )
    return Robustness(
        inputs=len(inputs), epsilon=epsilon, zero_gradients=flat / len(inputs), cw=changes, **shares
    )


def suspicions(found: Robustness, *, classes: int) -> list[str]:
    """Return what speaks against a result, a sentence each: signs that an attack failed, no more.

    >>> shares = {"clean": 1, "yopo": 0.9, "pgd": 0.9, "fgsm": 0.5, "pgd_doubled": 0.4, "zero_gradients": 0}
    >>> weak = Robustness(inputs=100, epsilon=0.3, cw=None, **shares)
    >>> suspicions(weak, classes=10)
    ['one step (FGSM) leaves an accuracy of 0.500, five (FGSM-PGD) 0.900: more steps should not be weaker']
    """
    one = 1 / found.inputs  # a single input may fall either way
    said = []
    if found.pgd > found.fgsm + one:
        said.append(
            f"one step (FGSM) leaves an accuracy of {found.fgsm:.3f}, five (FGSM-PGD) {found.pgd:.3f}: more "
            f"steps should not be weaker"
        )
    if found.epsilon > 0 and found.pgd > 1 / classes and found.pgd_doubled >= found.pgd:
        said.append(
            f"FGSM-PGD at ε = {2 * found.epsilon:.3g} leaves an accuracy of {found.pgd_doubled:.3f}, at ε = "
            f"{found.epsilon:.3g} {found.pgd:.3f}: a larger ball should lower it"
        )
    if found.zero_gradients > ZERO_GRADIENTS:
        said.append(
            f"the loss has no gradient at {found.zero_gradients:.1%} of the inputs, so FGSM-PGD and YOPO do "
            f"not move them: the accuracy under them says nothing of these"
        )
    if found.cw is not None and found.cw.success_rate < 1 - 1 / found.cw.inputs:
        said.append(
            f"CW, which may change an input as much as it likes, found nothing for "
            f"{1 - found.cw.success_rate:.1%} of the inputs: give it more iterations or searches"
        )
    return said


def _changes(
    model: nn.Module, inputs: Tensor, labels: Tensor, search: Search | None, tell: Callable[[int], None]
) -> SmallestChanges | None:
    if len(inputs) == 0:
        return None
    distances: list[float] = []
    done = 0
    for x, y in chunks(inputs, labels, CW_CHUNK):
        tell(done)
        change = carlini_wagner(model, x, y, search)
        distances += change.flatten(1).norm(dim=1)[~_right(model, x + change, y)].tolist()
        done += len(x)
    return SmallestChanges(
        inputs=len(inputs),
        success_rate=len(distances) / len(inputs),
        median_distance=median(distances) if distances else None,
    )


def _right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        taken_for: Tensor = model(inputs).argmax(dim=1)
    return taken_for == labels
