"""Games that figures observe step by step: one process, no run folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource
from midstream.run.datasets import Split
from midstream.run.process.environment import configure
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun


@dataclass(frozen=True)
class Turn:
    """One minibatch, before the run takes its step on it.

    Attributes:
        seq: number of the minibatch; the run is at θ_seq.
        clean: clean inputs, `(batch, *input)`, as pixels.
        attacked: attacked inputs.
        labels: the labels, `(batch,)`.
        report: the attacker's report on its move.
    """

    seq: int
    clean: Tensor
    attacked: Tensor
    labels: Tensor
    report: Mapping[str, float]


class ObservedGame:
    """The same game as `midstream play --transport local`, bit for bit.

    Args:
        specification: the run, including its defender.
        split: the run's data.
        attacker: the attacker's name and options; its budget equals the defender's.
        threads: CPU threads.

    Attributes:
        run: the training run, initially at θ_0.
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
        """Yield each minibatch before its step; the step is taken when the next one is requested."""
        for seq in range(self.run.total_steps):
            clean = self._batches.batch(seq)
            sent = clean if self._attacked is None else self._attacked.attack(clean)
            turn = _turn(clean, sent)
            yield turn
            self.run.train(Batch(seq, turn.attacked, turn.labels))


def _turn(clean: WireBatch, sent: WireBatch) -> Turn:
    return Turn(clean.seq, pixels(clean.inputs), pixels(sent.inputs), clean.labels, sent.report)
