"""The answers to a run's batches: a batch that is sent again gets the same answer again."""

from hashlib import blake2b

from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.problem import Problem
from midstream.protocol.wire import WireBatch, layout
from midstream_server.runs.recovery.durable import DurableRun


class Answers:
    """Acknowledgements of the batches that a run was trained on.

    Args:
        name: the run's name, for its refusals.
        durable: the run, which stores each batch's content digest and loss.
    """

    def __init__(self, name: str, durable: DurableRun) -> None:
        self._name = name
        self._durable = durable

    def new(self, seq: int, loss: float, *, next_seq: int) -> Acknowledgement:
        """Return the acknowledgement of a batch that was just trained on.

        Args:
            seq: the batch's number.
            loss: its training loss, as in `midstream_server.runs.training.Step`.
            next_seq: the number of the batch that the run expects next.
        """
        return acknowledgement(seq, loss, next_seq=next_seq, replay=False, kept_from=self._durable.kept_from)

    def repeated(self, seq: int, content: bytes, *, next_seq: int) -> Acknowledgement:
        """Return the acknowledgement that a batch had when it was first sent, with `replay` true.

        Args:
            seq: the batch's number.
            content: its `content_digest`.
            next_seq: the number of the batch that the run expects next.

        Raises:
            Problem: 409, a batch with other content was taken under this number, or the answer is lost.
        """
        known, loss = self._durable.answers.get(seq, (None, 0.0))
        if known is None:
            detail = (
                f"batch {seq} of run {self._name!r} was taken; its answer was lost with a damaged journal"
            )
            raise Problem(409, "That batch was taken", detail, next_seq=next_seq, answer_lost=True)
        if known != content:
            raise Problem(
                409,
                "Another batch was taken under this number",
                f"batch {seq} of run {self._name!r} had other content; a sequence number is used once",
                next_seq=next_seq,
            )
        return acknowledgement(seq, loss, next_seq=next_seq, replay=True, kept_from=self._durable.kept_from)


def acknowledgement(seq: int, loss: float, *, next_seq: int, replay: bool, kept_from: int) -> Acknowledgement:
    """Return the acknowledgement of a batch, whose step gave the parameters of version `seq + 1`."""
    return Acknowledgement(
        seq=seq,
        next_seq=next_seq,
        parameters_version=seq + 1,
        loss=loss,
        replay=replay,
        kept_from=kept_from,
    )


def content_digest(batch: WireBatch) -> bytes:
    """Return a 16-byte digest of a batch's tensors, independent of how its bytes are laid out."""
    digest = blake2b(digest_size=16)
    for tensor in (batch.inputs, batch.labels):
        _, shape, data = layout(tensor)
        digest.update(f"{tensor.dtype} {shape}\n".encode())
        digest.update(data)
    return digest.digest()
