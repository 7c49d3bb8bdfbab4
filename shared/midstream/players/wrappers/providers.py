"""A stream of several providers, of which only some are adversarial."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.seeds import permutation
from midstream.players.interface import Batch, Relabelling, View
from midstream.players.wrappers.wrapper import Wrapper


@dataclass(kw_only=True)
class Providers(Wrapper):
    """Any attacker, in a stream of N providers of which K are adversarial: `providers`, `adversarial`.

    The providers take turns: minibatch t is that of provider t mod N. The run's seed chooses the K
    adversarial ones. The attacker sees and moves only their minibatches; the others pass unchanged. The
    metrics of each step hold `provider`, counted from 0, and `adversarial`, 1 or 0.

    Args:
        inner: the attacker.
        providers: N, the number of providers.
        adversarial: K, how many of them the attacker controls.
    """

    providers: int = 1
    adversarial: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.adversarial <= self.providers or self.providers < 1:
            raise ValueError(
                f"adversarial is at most the number of providers, which is at least 1; not "
                f"{self.adversarial} of {self.providers}"
            )

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's perturbations of an adversarial provider's minibatch, and zeros otherwise."""
        adverse = self._adverse(batch, view)
        view.report("provider", batch.seq % self.providers)
        view.report("adversarial", float(adverse))
        return self.inner.perturb(batch, view) if adverse else torch.zeros_like(batch.inputs)

    def compose(self, batch: Batch, view: View) -> Batch:
        """Return the attacker's minibatch in place of an adversarial provider's; others stay as they are."""
        return super().compose(batch, view) if self._adverse(batch, view) else batch

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's labels of an adversarial provider's minibatch; others keep theirs."""
        if not isinstance(self.inner, Relabelling) or not self._adverse(batch, view):
            return batch.labels
        return self.inner.relabel(batch, view)

    def _adverse(self, batch: Batch, view: View) -> bool:
        chosen = permutation(self.providers, view.seed, "providers")[: self.adversarial]
        return batch.seq % self.providers in chosen.tolist()


OPTIONS = ("providers", "adversarial")
"""Options that every attacker accepts; an attacker's own option of the same name takes precedence."""
