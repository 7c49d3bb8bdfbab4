"""The attack of Carlini and Wagner: the smallest L2 change that makes the model misclassify an input."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import per_example
from midstream.mathematics.derivatives.gradients import CHUNK, chunks, refuse_coupled_examples
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View
from midstream.players.r2t2.momentum_option import MomentumOption

_NO_BOUND = 1e10


@dataclass(frozen=True, kw_only=True)
class Search:
    """The constants of the attack; the defaults are the original ones.

    Attributes:
        confidence: κ, the margin by which the other class's logit must lead.
        learning_rate: Adam's learning rate.
        iterations: maximum number of Adam's iterations for each weight c.
        searches: number of weights c to try for each example, by bisection.
        initial: the first weight c.
        low: smallest pixel value.
        high: largest pixel value.
        chunk_size: examples per chunk.
    """

    confidence: float = 0.0
    learning_rate: float = 0.01
    iterations: int = 10_000
    searches: int = 9
    initial: float = 1e-3
    low: float = 0.0
    high: float = 1.0
    chunk_size: int = CHUNK


def carlini_wagner(model: nn.Module, inputs: Tensor, labels: Tensor, search: Search | None = None) -> Tensor:
    """Return for each input the smallest change found that makes the model misclassify it.

    Adam lowers `‖x' - x‖² + c·max(Z_y(x') - max_{i≠y} Z_i(x'), -κ)`, Z being the logits. The bisection lowers
    c after a success and raises it after a failure; the smallest successful change is returned (Carlini and
    Wagner 2017, f₆). If no c succeeds for an example, it gets the attempt with the smallest hinge, never
    zero. An example that the model already misclassifies is left unchanged.

    The original optimises `w` with `x' = (tanh w + 1)/2`; a pixel of exactly 0 or 1 hardly moves there
    because the derivative vanishes. Here Adam moves x' itself, clamped after each step. The paper lists this
    first among its ways to respect the pixel range.

    Args:
        model: returns logits; it is not changed.
        inputs: `(batch, *input)`, within the pixel range.
        labels: their classes, `(batch,)`.
        search: the constants.

    Returns:
        Perturbations shaped like `inputs`, of unbounded size.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.eye(2))
    >>> found = carlini_wagner(model, torch.tensor([[0.8, 0.4]]), torch.tensor([0]), Search(iterations=400))
    >>> round(found.norm().item(), 2)  # to the decision boundary, where both logits are 0.6
    0.28
    """
    refuse_coupled_examples(model)
    search = search or Search()
    parts = chunks(inputs.detach(), labels, search.chunk_size)
    return torch.cat([_search(model, x, y, search) for x, y in parts])


def lead(logits: Tensor, labels: Tensor) -> Tensor:
    """Return `max_{i≠y} Z_i - Z_y` of each example, `(batch,)`; above 0 the model misclassifies it."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1) - own


def _search(model: nn.Module, inputs: Tensor, labels: Tensor, search: Search) -> Tensor:
    lower = torch.zeros(len(inputs)).to(inputs)
    upper = torch.full_like(lower, _NO_BOUND)
    weight = torch.full_like(lower, search.initial)
    best = _Best.of(inputs)
    for _ in range(search.searches):
        succeeded = _minimise(model, inputs, labels, weight, search, best)
        upper = torch.where(succeeded, torch.minimum(upper, weight), upper)
        lower = torch.where(succeeded, lower, torch.maximum(lower, weight))
        weight = torch.where(upper < _NO_BOUND, (lower + upper) / 2, 10 * weight)
    return best.reached - inputs


def _minimise(
    model: nn.Module, inputs: Tensor, labels: Tensor, weight: Tensor, search: Search, best: "_Best"
) -> Tensor:
    """Run Adam with one weight per example, update `best`, and return which examples succeeded."""
    reached = inputs.clone()
    adam = torch.optim.Adam([reached], lr=search.learning_rate)
    succeeded = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    patience, earlier = max(1, search.iterations // 10), torch.inf
    for iteration in range(search.iterations):
        with torch.enable_grad():
            at = reached.detach().clone().requires_grad_()
            ahead = lead(model(at), labels)
            squares = (at - inputs).flatten(1).square().sum(dim=1)
            value = (squares + weight * (-ahead).clamp(min=-search.confidence)).sum()
            reached.grad = torch.autograd.grad(value, at)[0]
        succeeded |= best.take(at.detach(), ahead.detach(), squares.detach(), search.confidence)
        if iteration % patience == 0:  # like the original, stop once the loss no longer falls
            if value.item() > 0.9999 * earlier:
                break
            earlier = value.item()
        adam.step()
        reached.clamp_(search.low, search.high)
    return succeeded


@dataclass
class _Best:
    """The best attempt for each example: the smallest success, or else the one nearest to a success."""

    reached: Tensor
    square: Tensor
    ahead: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> "_Best":
        nothing = torch.full((len(inputs),), torch.inf).to(inputs)
        return cls(inputs.clone(), nothing, -nothing)

    def take(self, at: Tensor, ahead: Tensor, square: Tensor, confidence: float) -> Tensor:
        succeeds = ahead > confidence
        smaller = succeeds & (square < self.square)
        closer = ~succeeds & self.square.isinf() & (ahead > self.ahead) & (square > 0)
        taken = smaller | closer
        self.reached = at.where(per_example(taken, at), self.reached)
        self.square = square.where(smaller, self.square)
        self.ahead = ahead.where(taken, self.ahead)
        return succeeds


@dataclass(kw_only=True)
class CarliniWagner(MomentumOption):
    """The smallest change that the model misclassifies (Carlini and Wagner 2017; not in Table 1).

    Each change is scaled to the ball's edge, whatever its length; the R2T2 paper normalises the methods that
    it compares with in the same way. The original constants take up to 90,000 gradients per batch; for a
    whole game, set fewer, such as `iterations=50,searches=4`.

    Args:
        confidence: κ, the margin by which the other class's logit must lead.
        learning_rate: Adam's learning rate.
        iterations: maximum number of Adam's iterations for each weight c.
        searches: number of weights c to try for each example, by bisection.
        initial: the first weight c.
        normalised: scale each change to the ball's edge; false leaves smaller changes as they are.
    """

    confidence: float = Search.confidence
    learning_rate: float = Search.learning_rate
    iterations: int = Search.iterations
    searches: int = Search.searches
    initial: float = Search.initial
    normalised: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(min(self.iterations, self.searches), self.learning_rate, self.initial)
        if not 0 <= self.confidence < math.inf:
            raise ValueError(f"confidence must be finite and at least 0, not {self.confidence}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the changes."""
        search = Search(
            confidence=self.confidence,
            learning_rate=self.learning_rate,
            iterations=self.iterations,
            searches=self.searches,
            initial=self.initial,
            low=view.budget.low,
            high=view.budget.high,
        )
        found = carlini_wagner(view.model, batch.inputs, batch.labels, search)
        if self.normalised:
            largest = view.budget.size(found)
            found = found * per_example(view.budget.epsilon / largest.where(largest > 0, 1.0), found)
        return self.blended(found, batch, view)
