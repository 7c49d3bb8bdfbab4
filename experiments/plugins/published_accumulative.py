"""The accumulative attack as its authors' loop runs it (Pang et al. 2021), and this project's beside it.

Written after `online_accu_train.py` of ShawnXYang/AccumulativeAttack. `Published` prepares for one batch that
it knows beforehand, the trigger, so its host must have the data set. `python -m experiments.accumulative`
compares both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from midstream import Batch, View, pixels
from midstream.attacks.accumulative import Accumulative
from midstream.mathematics.derivatives.functional import functional_call, trainable

Gradients = tuple[Tensor, ...]


@dataclass(kw_only=True)
class Published:
    """The authors' loop: one trigger, a batch of Dval, means as losses, and the gradient by double backward.

    Args:
        start: number of the first batch that it moves.
        strike: number of the batch that it replaces by the trigger.
        prepare: whether it moves the batches before the strike; otherwise it only strikes.
        online: whether the trigger is struck again after each step, from where it is (the authors'
            `--use_online_advtrigger`); otherwise it is struck once, at `start`.
        weight: the authors' `gamma`.
        steps: the authors' `num-steps`.
    """

    start: int = 250
    strike: int = 299
    prepare: bool = True
    online: bool = False
    weight: float = 1.0
    steps: int = 2
    _trigger: Tensor | None = field(default=None, init=False, repr=False)
    _labels: Tensor | None = field(default=None, init=False, repr=False)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return nothing before `start`, then the preparation, and the trigger at `strike`."""
        if not self.start <= batch.seq <= self.strike:
            return torch.zeros_like(batch.inputs)
        if self._trigger is None or self._labels is None:
            last = view.upcoming(self.strike - batch.seq)[-1] if batch.seq < self.strike else batch
            self._labels = last.labels
            self._trigger = self._struck(last.inputs, last.labels, batch, view)
        elif self.online:
            self._trigger = self._struck(self._trigger, self._labels, batch, view)
        if batch.seq == self.strike:
            return self._trigger - batch.inputs
        return self._prepared(batch, view) if self.prepare else torch.zeros_like(batch.inputs)

    def _struck(self, inputs: Tensor, labels: Tensor, batch: Batch, view: View) -> Tensor:
        """Return inputs whose gradient is aligned less with that of the validation batch."""
        reached = inputs
        for _ in range(self.steps):
            at = reached.detach().requires_grad_()
            theta = _parameters(view)
            aligned = _alignment(
                _gradients(view, theta, at, labels), _gradients(view, theta, *_validation(batch, view))
            )
            (slope,) = torch.autograd.grad(aligned, at)
            reached = _stepped(inputs, reached - self._step(slope, view), view)
        return reached

    def _prepared(self, batch: Batch, view: View) -> Tensor:
        assert self._trigger is not None
        assert self._labels is not None
        theta = _parameters(view)
        aligned = _alignment(
            _gradients(view, theta, self._trigger, self._labels),
            _gradients(view, theta, *_validation(batch, view)),
        )
        second = _units(torch.autograd.grad(aligned, list(theta.values())))
        clean = _units(_gradients(view, theta, batch.inputs, batch.labels))
        wanted = [(self.weight * one + other).detach() for one, other in zip(clean, second, strict=True)]
        reached = batch.inputs
        for _ in range(self.steps):
            at = reached.detach().requires_grad_()
            own = _units(_gradients(view, theta, at, batch.labels))
            score = torch.stack([(one * other).sum() for one, other in zip(own, wanted, strict=True)]).sum()
            (slope,) = torch.autograd.grad(score, at)
            reached = _stepped(batch.inputs, reached + self._step(slope, view), view)
        return reached - batch.inputs

    def _step(self, slope: Tensor, view: View) -> Tensor:
        return 2 / self.steps * view.budget.epsilon * view.budget.direction(slope)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the trigger."""
        if self._trigger is None or self._labels is None:
            return {}
        return {"trigger": self._trigger, "labels": self._labels}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the trigger."""
        self._trigger, self._labels = state.get("trigger"), state.get("labels")


class Ours:
    """This project's `accumulative`, which begins at `start` and strikes at `strike`.

    Args:
        start: number of the first batch that it moves.
        strike: number of the batch that it strikes with.
    """

    def __init__(self, *, start: int = 250, strike: int = 299) -> None:
        self.start, self.strike = start, strike
        self._inner = Accumulative(period=strike + 1)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return nothing outside of `start` to `strike`."""
        if not self.start <= batch.seq <= self.strike:
            return torch.zeros_like(batch.inputs)
        return self._inner.perturb(batch, view)


def _parameters(view: View) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in trainable(view.model).items()}


def _validation(batch: Batch, view: View) -> tuple[Tensor, Tensor]:
    """Return one batch of Dval, as the authors' code takes one."""
    count = len(batch.labels)
    return pixels(view.validation_inputs[:count]), view.validation_labels[:count]


def _gradients(view: View, theta: Mapping[str, Tensor], inputs: Tensor, labels: Tensor) -> Gradients:
    loss = functional.cross_entropy(functional_call(view.model, theta, (inputs,)), labels)
    return torch.autograd.grad(loss, list(theta.values()), create_graph=True)


def _units(gradients: Gradients) -> list[Tensor]:
    return [functional.normalize(one.flatten(), dim=0) for one in gradients]


def _alignment(one: Gradients, other: Gradients) -> Tensor:
    pairs = zip(_units(one), _units(other), strict=True)
    return torch.stack([(left * right).sum() for left, right in pairs]).sum()


def _stepped(clean: Tensor, reached: Tensor, view: View) -> Tensor:
    return view.budget.perturb(clean, (reached - clean).detach())
