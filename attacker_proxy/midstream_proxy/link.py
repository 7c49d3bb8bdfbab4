"""The middle link of a pipeline in one process: the attacker, between the provider and the run."""

from pathlib import Path

from midstream.protocol.checks import BatchRules
from midstream.protocol.link import Link
from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.wire import WireBatch
from midstream_proxy.failures import attack_as_problems
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.truth import note
from midstream_proxy.white_box import AttackedRun


class AttackLink:
    """Attacks each batch and hands it on, by the same steps as the proxy.

    Args:
        attacked: the attack.
        rules: checks each batch before the attack.
        onward: the next link.
        truth: the file to note the altered examples in; None notes nothing.

    Attributes:
        sent: the last batch that was handed on; None before the first.
    """

    def __init__(
        self,
        attacked: AttackedRun | BlackBoxRun,
        rules: BatchRules,
        onward: Link,
        *,
        truth: Path | None = None,
    ) -> None:
        self.sent: WireBatch | None = None
        self._attacked = attacked
        self._rules = rules
        self._onward = onward
        self._truth = truth

    @property
    def url(self) -> str:
        """Where the attacked batches go."""
        return self._onward.url

    def put(self, batch: WireBatch) -> Acknowledgement:
        """Attack one minibatch, hand it on, and return the run's acknowledgement.

        A minibatch that the run refused is not attacked a second time.

        Raises:
            Problem: the batch is invalid, the attack failed, or the next link refused the batch.
        """
        self._rules.check(batch, seq=batch.seq)  # do not attack a batch that the run would refuse
        if self.sent is None or self.sent.seq != batch.seq:
            with attack_as_problems():
                sent = self._attacked.attack(batch)
            note(self._truth, batch, sent)
            self.sent = sent
        return self._onward.put(self.sent)
