"""How suspicious a batch looks, on one scale for all checkers: the ranks of its scores among trusted ones."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Suspicion:
    """What a checker says about one batch.

    Attributes:
        examples: `(batch,)`, one number per example: the share of trusted examples that are less suspicious.
            An example that is more suspicious than all trusted ones has more than 1, so that such examples
            are still ordered; one that is less suspicious than all has less than 0.
        batch: no dimensions, in [0, 1]: the probability that a trusted batch of this size is less suspicious.
    """

    examples: Tensor
    batch: Tensor


def among(trusted: Tensor, scores: Tensor) -> Suspicion:
    """Return the suspicion of scores, of which larger ones are more suspicious.

    Within the range of the trusted scores, an example's suspicion is `F(s)`, the share of trusted scores
    below `s`, where equal ones count half. Beyond that range, the distance to the nearest trusted score is
    added or subtracted, in standard deviations of the trusted scores.

    The batch's suspicion is `Φ((U - nm/2) / √(nm (n + m + 1) / 12))` with `U = m Σ F(s)`: the probability
    that the statistic of Mann and Whitney (1947) is smaller for n trusted examples, in its normal
    approximation.

    Args:
        trusted: scores of examples that nobody could alter, `(m,)`.
        scores: scores of the batch, `(n,)`.

    >>> found = among(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.5, 1.0, 9.0]))
    >>> found.examples
    tensor([0.5000, 0.3750, 6.3666])
    >>> float(found.batch) > 0.5
    True
    """
    trusted = trusted.detach().double().sort().values
    scores, count = scores.detach().double(), len(trusted)
    below = torch.searchsorted(trusted, scores)
    up_to = torch.searchsorted(trusted, scores, right=True)
    ranks = (below + up_to) / (2 * count)
    spread = trusted.std(correction=0) if count > 1 else trusted.new_zeros(())
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    beyond = (scores - trusted[-1]).clamp_min(0) - (trusted[0] - scores).clamp_min(0)
    size = len(scores)
    deviation = math.sqrt((size + count + 1) / (12 * size * count))
    z = (ranks.mean() - 0.5) / deviation
    return Suspicion((ranks + beyond / spread).float(), torch.special.ndtr(z).float())
