"""Detection of a shift of whole batches against the validation set."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.seeds import derive, generator
from midstream.players.interface import Batch, View
from midstream.players.scores.suspicion import Suspicion, among
from midstream.players.window import Window


@dataclass(kw_only=True)
class Drift:
    """A batch that is distributed unlike Dval is suspicious (MMD, Gretton et al. 2012; not in Table 1).

    With the kernel `k(x, z) = exp(-‖x - z‖² / 2b²)`, b the median distance within Dval, X the last batches
    and Z the validation set, the batch's suspicion is `Φ((MMD² - mean) / deviation)` of

        MMD² = mean k(X, X) + mean k(Z, Z) - 2 mean k(X, Z)

    with mean and deviation over random exchanges between X and Z. An example's score is the witness
    function, `s(x) = mean_{x'∈X} k(x, x') - mean_{z∈Z} k(x, z)`; an example is not compared with itself.

    Shapes: inputs `(batch, *input)`; scores `(batch,)`. Cost: the kernel of all pairs of X and Z, n² for n
    examples in both, and n² for each exchange.

    Args:
        window: number of earlier batches that are compared together with this one.
        exchanges: number of random exchanges.
    """

    window: int = 3
    exchanges: int = 100

    def __post_init__(self) -> None:
        if self.exchanges < 2:
            raise ValueError(f"exchanges is a number of random exchanges, at least 2, not {self.exchanges}")
        self._window = Window(self.window)

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the witness function's ranks, and the probability of a smaller MMD without a shift."""
        trusted, recent = pixels(view.validation_inputs).flatten(1), batch.inputs.flatten(1)
        if len(self._window):
            recent = torch.cat([recent, self._window.inputs.to(recent).flatten(1)])
        joined = torch.cat([recent, trusted])
        kernel = self._kernel(joined, len(trusted))
        count = len(recent)
        signs = torch.full((len(joined),), -1.0 / len(trusted), device=joined.device, dtype=joined.dtype)
        signs[:count] = 1.0 / count
        draws = generator(derive(view.seed, "drift"), batch.seq, view.role)
        orders = [torch.randperm(len(joined), generator=draws) for _ in range(self.exchanges)]
        exchanged = signs[torch.stack(orders).to(signs.device)]
        discrepancies = ((exchanged @ kernel) * exchanged).sum(1)
        found = signs @ kernel @ signs
        deviation = discrepancies.std().clamp_min(torch.finfo(kernel.dtype).tiny)
        whole = torch.special.ndtr((found - discrepancies.mean()) / deviation)
        view.report("mmd", float(found.clamp_min(0).sqrt()))
        self._window.add(batch)
        witness = kernel.fill_diagonal_(0) @ self._weights(count, len(trusted), joined)
        return Suspicion(among(witness[count:, 1], witness[: len(batch.labels), 0]).examples, whole)

    def _kernel(self, joined: Tensor, trusted: int) -> Tensor:
        squares = torch.cdist(joined, joined, compute_mode="donot_use_mm_for_euclid_dist").square()
        within = squares[-trusted:, -trusted:]
        bandwidth = within[within > 0].median() if bool((within > 0).any()) else within.new_ones(())
        return (-squares / (2 * bandwidth)).exp()

    def _weights(self, recent: int, trusted: int, like: Tensor) -> Tensor:
        """Return the witness's weights for examples of X, and for those of Z, without the example itself."""
        weights = torch.zeros(recent + trusted, 2).to(like)
        weights[:recent, 0], weights[recent:, 0] = 1 / max(1, recent - 1), -1 / trusted
        weights[:recent, 1], weights[recent:, 1] = 1 / recent, -1 / max(1, trusted - 1)
        return weights

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last batches."""
        return self._window.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._window.load_state_dict(state)
