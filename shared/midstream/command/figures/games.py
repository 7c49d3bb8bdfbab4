"""Games that a figure looks into while they are played: one process, no run folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from midstream.mathematics.pixels import pixels
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource
from midstream.run.datasets import Split
from midstream.run.environment import configure
from midstream_proxy.attack import AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun


@dataclass(frozen=True)
class Turn:
    """One minibatch, before the run takes its step on it.

    Attributes:
        seq: which minibatch; the run is at θ_seq.
        clean: its inputs, `(batch, *input)`, as pixels.
        attacked: the same after the attacker.
        labels: their labels.
        report: what the attacker reports of its move.
    """

    seq: int
    clean: Tensor
    attacked: Tensor
    labels: Tensor
    report: Mapping[str, float]


class ObservedGame:
    """The game that `midstream play --transport local` plays, to the same bits.

    Args:
        specification: what is trained, and the defender.
        split: its data.
        attacker: its name and options; its ball is the defender's.
        threads: CPU threads.

    Attributes:
        run: the training run, at θ_0 at first.
    """

    def __init__(self, specification: Specification, split: Split, attacker: str, *, threads: int) -> None:
        device = configure(threads=threads, device="cpu")
        self.run = TrainingRun(specification, split, device=device)
        settings = AttackSettings(attacker, specification.epsilon, specification.norm, allowed=None)
        self._attacked = None if attacker == "none" else AttackedRun(LocalGame(self.run), settings)
        if self._attacked is not None:
            self._attacked.prepare()
        self._batches = BatchSource(specification, split.train)

    def turns(self) -> Iterator[Turn]:
        """Yield every minibatch before its step; the step is taken when the next is asked for."""
        for seq in range(self.run.total_steps):
            clean = self._batches.batch(seq)
            sent = clean if self._attacked is None else self._attacked.attack(clean)
            turn = _turn(clean, sent)
            yield turn
            self.run.train(Batch(seq, turn.attacked, turn.labels))


def _turn(clean: WireBatch, sent: WireBatch) -> Turn:
    return Turn(clean.seq, pixels(clean.inputs), pixels(sent.inputs), clean.labels, sent.report)
