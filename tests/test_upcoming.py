"""The batches to come, as an attacker with the data set knows them."""

import pytest
import torch

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream_proxy.reading.upcoming import UpcomingBatches

SPECIFICATION = Specification.model_validate(
    {"dataset": "digits", "train_size": 25, "validation_size": 40, "batch_size": 10, "epochs": 2}
)


def sent(seq: int) -> Batch:
    found = BatchSource(SPECIFICATION, load_split(SPECIFICATION, Source()).train).batch(seq)
    return Batch(seq, pixels(found.inputs), found.labels)


def known(specification: Specification = SPECIFICATION) -> UpcomingBatches:
    return UpcomingBatches(BatchSource(specification, load_split(specification, Source()).train))


@pytest.mark.parametrize(
    ("seq", "count", "expected"), [(0, 2, [1, 2]), (1, 3, [2, 3, 4]), (4, 3, [5]), (5, 2, [])]
)
def test_they_are_those_that_the_provider_sends(seq: int, count: int, expected: list[int]) -> None:
    found = known().after(sent(seq), count)
    assert [batch.seq for batch in found] == expected
    for batch in found:
        assert torch.equal(batch.inputs, sent(batch.seq).inputs)
        assert torch.equal(batch.labels, sent(batch.seq).labels)


def test_a_run_that_stops_early_has_no_batch_after_its_last() -> None:
    short = SPECIFICATION.model_copy(update={"max_steps": 3})
    assert [batch.seq for batch in known(short).after(sent(1), 4)] == [2]


def test_other_data_on_this_machine_are_noticed() -> None:
    batch = sent(2)
    with pytest.raises(ValueError, match="batch 2 is different in the 'digits' of this machine"):
        known().after(Batch(2, batch.inputs * 0.5, batch.labels), 1)
    with pytest.raises(ValueError, match="must have the same data"):
        known(SPECIFICATION.model_copy(update={"seed": 1})).after(batch, 1)
