"""Test-time robustness: the accuracy of a trained model on perturbed inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from midstream.attacks.adversarial.cw import Search, carlini_wagner
from midstream.attacks.adversarial.yopo import STEP_SIZE as YOPO_STEP
from midstream.attacks.adversarial.yopo import yopo
from midstream.mathematics.ascent import pgd
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import CHUNK, chunks
from midstream.mathematics.derivatives.input_gradient import input_gradient
from midstream.players.reporting import Tell

CW_CHUNK = 50
"""Inputs per chunk of CW; small, so that `tell` reports progress often."""

_CW_COSTS = 100
"""Rough cost of CW for one input, in units of the cost of all other attacks together."""

ZERO_GRADIENTS = 0.01
"""Share of inputs without a gradient above which the result of a gradient attack means little."""

_Move = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class SmallestChanges:
    """What CW found for the inputs that the model gets right.

    Attributes:
        inputs: number of these inputs.
        success_rate: share of them for which CW found a change that the model misclassifies.
        median_distance: median L2 norm of the changes found, in pixel units; None if there are none.
    """

    inputs: int
    success_rate: float
    median_distance: float | None


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The accuracy of a model under several attacks, as shares of the inputs in [0, 1].

    Attributes:
        inputs: number of inputs.
        epsilon: the L∞ radius of `yopo` and `pgd`.
        clean: accuracy on the clean inputs.
        yopo: accuracy under YOPO-5-3.
        pgd: accuracy under FGSM-PGD with 5 steps.
        fgsm: accuracy under FGSM, a check on `pgd`.
        pgd_doubled: accuracy under FGSM-PGD at twice the radius, a check on `pgd`.
        zero_gradients: share of the inputs at which `∇x L` is zero in every pixel.
        cw: the result of CW, which has no radius; None if CW was not run or the model gets no input right.
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
    """Return a trained model's accuracy under attacks that know the labels (paper A.2.7, Table A.8).

    YOPO-5-3 and FGSM-PGD with 5 steps raise each input's loss within the L∞ ball, in steps of ε/4 and 2.5ε/5,
    starting at the input, without restarts. CW searches for the smallest L2 change that the model
    misclassifies.

    Args:
        model: returns logits; it is not changed.
        inputs: `(examples, *input)`, as stored: float32 in [0, 1], or uint8.
        labels: their classes, `(examples,)`.
        epsilon: the L∞ radius, in pixel units.
        cw_inputs: number of inputs to run CW on, counted from the first.
        search: CW's constants; the original ones by default.
        tell: called with the progress.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.eye(2))
    >>> x, y = torch.tensor([[0.8, 0.4], [0.4, 0.5]]), torch.tensor([0, 1])
    >>> found = robustness(model, x, y, epsilon=0.1, cw_inputs=2)
    >>> found.clean, found.pgd, found.cw.success_rate  # 0.2 and 0.05 from the boundary
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
    """Return signs that an attack failed and the result is unreliable, one sentence for each.

    >>> shares = {"clean": 1, "yopo": 0.9, "pgd": 0.9, "fgsm": 0.5, "pgd_doubled": 0.4, "zero_gradients": 0}
    >>> weak = Robustness(inputs=100, epsilon=0.3, cw=None, **shares)
    >>> suspicions(weak, classes=10)
    ['one step (FGSM) leaves an accuracy of 0.500, five (FGSM-PGD) 0.900: more steps should not be weaker']
    """
    one = 1 / found.inputs  # ignore a difference of a single input
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
