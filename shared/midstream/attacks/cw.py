"""The attack of Carlini and Wagner: the smallest L2 change that the model takes for another class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import per_example
from midstream.mathematics.derivatives.gradients import CHUNK, chunks, refuse_coupled_examples
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View

_NO_BOUND = 1e10


@dataclass(frozen=True, kw_only=True)
class Search:
    """The constants of the attack, the original ones by default.

    Attributes:
        confidence: κ, by how much the other class's logit must lead.
        learning_rate: Adam's.
        iterations: of Adam, at most, for each weight tried.
        searches: weights c tried for each example, by bisection.
        initial: the first of them.
        low: smallest pixel value.
        high: largest pixel value.
        chunk_size: examples searched at a time.
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
    """Return for each input the smallest change found that the model takes for another class.

    Adam lowers `‖x' - x‖² + c·max(Z_y(x') - max_{i≠y} Z_i(x'), -κ)`, Z the logits; where it succeeds c is
    lowered, where it fails raised, and the smallest success is kept (Carlini and Wagner 2017, f₆). An example
    that no c succeeded for gets the attempt of the smallest hinge, never nothing; one that the model already
    takes for another class is left as it is.

    The original searches in `w`, `x' = (tanh w + 1)/2`, where a pixel of exactly 0 or 1 hardly moves since
    the derivative vanishes there. Here x' itself is moved and clamped after each step, the first way that
    they give to keep to the pixel range.

    Args:
        model: returns logits; it is not changed.
        inputs: `(batch, *input)`, within the pixel range.
        labels: their classes, `(batch,)`.
        search: the constants.

    Returns:
        Perturbations shaped like `inputs`, of whatever size they need.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.eye(2))
    >>> found = carlini_wagner(model, torch.tensor([[0.8, 0.4]]), torch.tensor([0]), Search(iterations=400))
    >>> round(found.norm().item(), 2)  # to the border, where both are 0.6
    0.28
    """
    refuse_coupled_examples(model)
    search = search or Search()
    parts = chunks(inputs.detach(), labels, search.chunk_size)
    return torch.cat([_search(model, x, y, search) for x, y in parts])


def lead(logits: Tensor, labels: Tensor) -> Tensor:
    """Return `max_{i≠y} Z_i - Z_y` of each example, `(batch,)`: above 0 it is taken for another class."""
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
    """Run Adam for one weight an example, keep what is best, and return which examples succeeded."""
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
        if iteration % patience == 0:  # the original gives up where the loss no longer falls
            if value.item() > 0.9999 * earlier:
                break
            earlier = value.item()
        adam.step()
        reached.clamp_(search.low, search.high)
    return succeeded


@dataclass
class _Best:
    """What is kept of each example: the smallest success, or else the attempt that came nearest to one."""

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
class CarliniWagner:
    """The smallest change that the model takes for another class (Carlini and Wagner 2017; not in Table 1).

    The change found, whatever its length, is carried to the ball's edge, as the paper normalises the methods
    that it compares with. The original constants take up to 90,000 gradients a batch: for a whole game set
    less, such as `iterations=50,searches=4`.

    Args:
        confidence: κ, by how much the other class's logit must lead.
        learning_rate: Adam's.
        iterations: of Adam, at most, for each weight tried.
        searches: weights c tried for each example, by bisection.
        initial: the first of them.
        normalised: carry the change to the ball's edge; false leaves a smaller one as it is.
    """

    confidence: float = Search.confidence
    learning_rate: float = Search.learning_rate
    iterations: int = Search.iterations
    searches: int = Search.searches
    initial: float = Search.initial
    normalised: bool = True

    def __post_init__(self) -> None:
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
        if not self.normalised:
            return found
        largest = view.budget.size(found)
        return found * per_example(view.budget.epsilon / largest.where(largest > 0, 1.0), found)
