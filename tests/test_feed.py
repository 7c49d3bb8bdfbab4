"""What a provider does with a peer that asks for batches which the run does not have."""

from collections.abc import Iterator

import pytest
import torch

from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream_provider.push import RunEndedError, feed

STEPS = 3


@pytest.fixture(scope="module")
def batches() -> BatchSource:
    specification = Specification.model_validate(
        {"name": "run", "train_size": 20, "validation_size": 20, "batch_size": 10, "max_steps": STEPS}
    )
    return BatchSource(specification, load_split(specification, Source()).train)


class Asking:
    """A link that asks for certain batches, one after another."""

    url = "http://peer"

    def __init__(self, *asked: int) -> None:
        self.sent: list[int] = []
        self._asked: Iterator[int] = iter(asked)

    def put(self, batch: WireBatch) -> Acknowledgement:
        self.sent.append(batch.seq)
        wanted = next(self._asked)
        return Acknowledgement(
            seq=batch.seq, next_seq=wanted, parameters_version=1, loss=1.0, replay=False, kept_from=0
        )


class Refusing(Asking):
    """A link that refuses each batch, and asks for certain ones instead."""

    def put(self, batch: WireBatch) -> Acknowledgement:
        self.sent.append(batch.seq)
        raise Problem(409, "Batches are missing", "another one is next", next_seq=next(self._asked))


def test_a_peer_may_go_back_and_forth(batches: BatchSource) -> None:
    link = Asking(2, 1, STEPS)
    assert [batch.seq for batch, _ in feed(link, batches, first=0)] == link.sent == [0, 2, 1]


@pytest.mark.parametrize("asked", [-1, STEPS + 1, 10**30])
def test_a_batch_that_the_run_does_not_have_ends_it(batches: BatchSource, asked: int) -> None:
    with pytest.raises(RunEndedError, match=f"asked for batch {asked}, but the run has 3 batches"):
        list(feed(Asking(asked), batches, first=0))


@pytest.mark.parametrize("asked", [-1, STEPS + 1, 10**30, True])
def test_a_refusal_that_asks_for_one_is_final(batches: BatchSource, asked: int) -> None:
    link = Refusing(asked, 0)
    with pytest.raises(RunEndedError, match="refused batch 0"):
        list(feed(link, batches, first=0))
    assert link.sent == [0]


def test_a_batch_that_was_made_ahead_is_the_same_batch(batches: BatchSource) -> None:
    other = BatchSource(batches.specification, batches.train)
    for ahead, asked in ((1, 1), (2, 1), (1, 2), (STEPS, 0)):
        other.prepare(ahead)
        made, expected = other.batch(asked), batches.batch(asked)
        assert made.seq == asked
        assert torch.equal(made.inputs, expected.inputs)
        assert torch.equal(made.labels, expected.labels)


def test_a_batch_is_made_ahead_once_and_only_if_the_run_has_it(batches: BatchSource) -> None:
    class Counting(BatchSource):
        made: tuple[int, ...] = ()

        def _made(self, seq: int) -> WireBatch:
            self.made += (seq,)
            return super()._made(seq)

    source = Counting(batches.specification, batches.train)
    for seq in (1, 1, STEPS):
        source.prepare(seq)
    assert source.batch(1).seq == 1
    assert source.made == (1,)
