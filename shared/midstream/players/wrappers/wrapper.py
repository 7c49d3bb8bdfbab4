"""The base of players that wrap an attacker."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from midstream.players.interface import Batch, Player, Relabelling, View
from midstream.players.referee import restore, state_of
from midstream.players.remembering import remembers
from midstream.players.wrappers.composing import Composing, composes


@dataclass(kw_only=True)
class Wrapper:
    """An attacker around another one: it learns, composes, relabels and remembers as the inner one does.

    Args:
        inner: the attacker.
    """

    inner: Player

    @property
    def parts(self) -> tuple[object, ...]:
        """The attacker, so that `learners` finds what it must learn before the game."""
        return (self.inner,)

    @property
    def remembers(self) -> bool:
        """Whether the attacker remembers."""
        return remembers(self.inner)

    @property
    def composes(self) -> bool:
        """Whether the attacker may send other examples than came."""
        return composes(self.inner)

    def compose(self, batch: Batch, view: View) -> Batch:
        """Return the attacker's minibatch."""
        inner = self.inner
        return inner.compose(batch, view) if isinstance(inner, Composing) and composes(inner) else batch

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's labels."""
        return self.inner.relabel(batch, view) if isinstance(self.inner, Relabelling) else batch.labels

    def state_dict(self) -> dict[str, Tensor]:
        """Return the attacker's memory, if it has any."""
        return state_of(self.inner)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the attacker's memory, if it has any."""
        restore(self.inner, state)
