"""Rows by content: what was written is read, what was not is zero, and writes can be undone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from midstream import Batch, Budget, MomentumHistory, plugins
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.rows import Rows
from midstream.players.remembering import rows_of


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16) for number in numbers]


def values(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(seed))


def read(rows: Rows, *numbers: int) -> Tensor:
    return rows.read(rows.places(keys(*numbers), like=values(1)))


def written(count: int = 5) -> Rows:
    rows = Rows()
    rows.put(keys(*range(count)), values(count))
    return rows


def test_rows_stay_where_they_are_however_many_come() -> None:
    rows, reference = Rows(), dict[int, Tensor]()
    for seed in range(20):
        numbers = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:7].tolist()
        rows.put(keys(*numbers), values(7, seed))
        reference |= dict(zip(numbers, values(7, seed), strict=True))
    assert len(rows) == len(reference)
    assert torch.equal(read(rows, *reference), torch.stack(list(reference.values())))


def test_of_a_key_that_repeats_the_last_row_counts() -> None:
    rows, new = Rows(), values(4)
    rows.put(keys(1, 2, 1, 3), new)
    assert torch.equal(read(rows, 1, 2, 3), new[[2, 1, 3]])


def test_what_was_written_since_the_mark_can_be_undone() -> None:
    rows = written(5)
    rows.mark()
    before = read(rows, *range(5))
    rows.put(keys(3, 3, 7), values(3, 1))
    rows.put(keys(7, 0), values(2, 2))
    found, now = rows.written()
    assert found == keys(3, 7, 0)
    assert now is not None
    assert torch.equal(now, torch.stack([values(3, 1)[1], *values(2, 2)]))
    rows.back()
    assert len(rows) == 5
    assert rows.written() == ([], None)
    assert torch.equal(read(rows, *range(5)), before)
    assert not read(rows, 7).any()


def test_a_state_neither_moves_nor_is_moved() -> None:
    rows, other = written(5), Rows()
    state = rows.state_dict()
    other.load_state_dict(state)
    copy = state["rows"].clone()
    rows.put(keys(1), values(1, 1))
    other.put(keys(2), values(1, 2))
    assert torch.equal(state["rows"], copy)
    assert torch.equal(read(rows, 2), copy[2:3])
    assert torch.equal(read(other, 1), copy[1:2])


def test_a_host_can_leave_the_rows_out() -> None:
    rows = written(5)
    with rows.left_out():
        assert rows.state_dict() == {}
        rows.load_state_dict({})
    assert len(rows) == len(rows.state_dict()["keys"]) == 5


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the rows have shape \(2, 3\), this batch has \(4,\)"):
        written().places(keys(1), like=torch.zeros(1, 4))


@pytest.mark.parametrize("name", ["level-1", "level-2", "influence", "level-1,fraction=0.5"])
def test_the_rows_of_an_attacker_are_found(name: str) -> None:
    assert rows_of(plugins.make("attackers", name)) is not None


@pytest.mark.parametrize("name", ["none", "fgsm", "evoshift"])
def test_other_attackers_have_none(name: str) -> None:
    assert rows_of(plugins.make("attackers", name)) is None


def test_of_two_histories_neither_is_taken_for_the_memory() -> None:
    class Two:
        def __init__(self) -> None:
            self.one, self.other = MomentumHistory(), MomentumHistory()

        def perturb(self, batch: Batch, view: object) -> Tensor:
            raise NotImplementedError

    assert rows_of(Two()) is None


def test_the_keys_of_a_batch_are_those_of_its_host_in_every_copy() -> None:
    x = values(3)
    asked: list[int] = []

    def source() -> list[bytes]:
        asked.append(1)
        return content_keys(x)

    batch = Batch(0, x, torch.zeros(3, dtype=torch.int64), source)
    moved = replace(batch, inputs=x + 1)
    assert moved.content_keys() == content_keys(x) != Batch(0, x + 1, batch.labels).content_keys()
    history = MomentumHistory(0.5)
    history.blend(moved.inputs, torch.ones_like(x), Budget(1.0), keys=moved.content_keys())
    assert [key.hex() for key in content_keys(x)] == [
        bytes(row).hex() for row in history.state_dict()["keys"].numpy()
    ]
    assert len(asked) == 2


def test_a_batch_of_some_of_the_examples_has_their_keys() -> None:
    x = values(3)
    batch = Batch(0, x, torch.zeros(3, dtype=torch.int64), lambda: content_keys(x))
    some = replace(batch, inputs=x[1:], labels=batch.labels[1:])
    assert some.content_keys() == content_keys(x)[1:]


def test_a_recall_adds_no_key() -> None:
    rows = written(3)
    found = rows.recall(keys(2, 9), like=values(2))
    assert torch.equal(found, torch.stack([values(3)[2], torch.zeros(2, 3)]))
    assert len(rows) == 3
    assert not Rows().recall(keys(1), like=values(1)).any()
