"""An attacker's rows in its memory: a block for each answer, whole or not at all, none left behind."""

import sqlite3
from pathlib import Path

import pytest
import torch
from torch import Tensor

from midstream.mathematics.inputs.rows import Rows
from midstream.storage.sqlite import DamagedDatabaseError
from midstream_proxy.memory.attack_memory import AttackMemory
from midstream_proxy.memory.records import AnswerRecord, checksum


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16) for number in numbers]


class Attacker:
    """The rows of an attacker, and the memory that follows them."""

    def __init__(self, path: Path) -> None:
        self.rows, self.memory = Rows(), AttackMemory(path)
        if not self.memory.started:
            self.memory.begin({"run": "a run"})
            self.memory.start({}, self.rows)
        else:
            self.memory.rewind(self.rows)

    def write(self, value: float, *numbers: int) -> None:
        self.rows.put(keys(*numbers), torch.full((len(numbers), 2), value))

    def store(self, seq: int, came: bytes = b"came") -> AnswerRecord:
        return self.memory.store(seq, came, b"went", {}, kept_from=0, rows=self.rows)

    def take(self, seq: int, value: float, *numbers: int) -> None:
        self.write(value, *numbers)
        assert self.memory.acknowledge(self.store(seq).number)
        self.memory.keep(self.rows)

    def again(self) -> "Attacker":
        self.memory.close()
        return Attacker(self.memory.path)

    def values(self, *numbers: int) -> list[float]:
        rows = self.rows.read(self.rows.places(keys(*numbers), like=torch.zeros(1, 2)))
        return rows.mean(dim=1).tolist()

    def blocks(self) -> int:
        self.memory.close()
        with sqlite3.connect(self.memory.path) as database:
            (count,) = database.execute("SELECT count(*) FROM blocks").fetchone()
        database.close()
        return int(count)


@pytest.fixture
def attacker(tmp_path: Path) -> Attacker:
    return Attacker(tmp_path / "attack-run.sqlite")


def test_rows_survive_and_the_newest_counts(attacker: Attacker) -> None:
    attacker.take(0, 1.0, 1, 2, 3)
    attacker.take(1, 2.0, 2, 4)
    again = attacker.again()
    assert again.values(1, 2, 3, 4) == [1.0, 2.0, 1.0, 2.0]
    again.take(2, 3.0, 1)
    third = again.again()
    assert third.values(1, 2, 3, 4) == [3.0, 2.0, 1.0, 2.0]
    third.memory.close()


def test_rows_of_an_answer_count_once_it_is_acknowledged(attacker: Attacker) -> None:
    attacker.take(0, 1.0, 1, 2)
    attacker.write(2.0, 2, 3)
    attacker.store(1)
    again = attacker.again()
    assert again.values(1, 2) == [1.0, 1.0]
    (answer,) = again.memory.open_answers()
    assert again.memory.acknowledge(answer.number)
    again.memory.rewind(again.rows)
    assert again.values(1, 2, 3) == [1.0, 2.0, 2.0]
    third = again.again()
    assert third.values(1, 2, 3) == [1.0, 2.0, 2.0]
    third.memory.close()


def test_of_two_answers_to_one_batch_the_rows_of_the_acknowledged_one_count(attacker: Attacker) -> None:
    attacker.take(0, 1.0, 1, 2)
    attacker.write(2.0, 2)
    first = attacker.store(1, b"first")
    attacker.memory.rewind(attacker.rows)
    assert attacker.values(2) == [1.0]
    attacker.write(3.0, 1)
    attacker.store(1, b"second")
    assert attacker.memory.acknowledge(first.number)
    attacker.memory.rewind(attacker.rows)
    assert attacker.values(1, 2) == [1.0, 2.0]
    again = attacker.again()
    assert again.values(1, 2) == [1.0, 2.0]
    assert again.blocks() == 2


def test_a_failed_attack_leaves_no_row_behind(attacker: Attacker) -> None:
    attacker.take(0, 1.0, 1, 2)
    attacker.write(9.0, 2, 5)
    attacker.memory.rewind(attacker.rows)
    attacker.take(1, 2.0, 1)
    assert attacker.values(1, 2, 5) == [2.0, 1.0, 0.0]
    assert attacker.again().values(1, 2) == [2.0, 1.0]


def test_blocks_without_a_current_row_are_deleted(attacker: Attacker) -> None:
    for seq in range(12):  # three epochs of four batches, in another order each
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seq // 4)).tolist()
        attacker.take(seq, float(seq), *order[10 * (seq % 4) : 10 * (seq % 4 + 1)])
    values = attacker.values(*range(40))
    again = attacker.again()
    assert again.values(*range(40)) == values
    assert again.blocks() == 4


def test_one_answer_writes_its_own_rows_only(attacker: Attacker) -> None:
    attacker.rows.put(keys(*range(400)), torch.rand(400, 500))
    assert attacker.memory.acknowledge(attacker.store(0).number)
    attacker.memory.keep(attacker.rows)
    attacker = attacker.again()
    log = attacker.memory.path.with_name(attacker.memory.path.name + "-wal")
    before = log.stat().st_size if log.exists() else 0
    for seq in range(1, 4):
        attacker.rows.put(keys(seq), torch.rand(1, 500))
        assert attacker.memory.acknowledge(attacker.store(seq).number)
        attacker.memory.keep(attacker.rows)
    assert log.stat().st_size - before < 400_000  # of 800,000 in all, three times
    attacker.memory.close()


def test_rows_at_the_start_are_stored(tmp_path: Path) -> None:
    rows, memory = Rows(), AttackMemory(tmp_path / "attack-run.sqlite")
    rows.put(keys(1), torch.ones(1, 2))
    memory.begin({"run": "a run"})
    memory.start({}, rows)
    memory.close()
    assert Attacker(memory.path).values(1) == [1.0]


@pytest.mark.parametrize("kept", [(), (2,), (2, 7)])
@pytest.mark.parametrize("how", ["clear", "load", "another"])
def test_rows_that_the_attacker_drops_are_gone_after_a_restart(
    kept: tuple[int, ...], how: str, attacker: Attacker
) -> None:
    attacker.take(0, 1.0, 1, 2, 3)
    if how == "another":
        attacker.rows = Rows()
    elif how == "clear":
        attacker.rows.clear()
    else:
        attacker.rows.load_state_dict({})
    if kept:
        attacker.write(2.0, *kept)
    answer = attacker.store(1)
    expected = [2.0 if number in kept else 0.0 for number in (1, 2, 3, 7)]
    again = attacker.again()
    assert again.values(1, 2, 3, 7) == [1.0, 1.0, 1.0, 0.0]  # the server has not taken the answer yet
    assert again.memory.acknowledge(answer.number)
    again.memory.rewind(again.rows)
    assert again.values(1, 2, 3, 7) == expected
    third = again.again()
    assert third.values(1, 2, 3, 7) == expected
    third.take(2, 3.0, 1)
    assert third.again().values(1, 2, 3, 7) == [3.0, *expected[1:]]


def test_rows_that_the_attacker_drops_come_back_if_its_attack_fails(attacker: Attacker) -> None:
    attacker.take(0, 1.0, 1, 2)
    attacker.write(2.0, 2)
    attacker.rows.clear()
    attacker.write(3.0, 1, 5)
    attacker.memory.rewind(attacker.rows)
    assert attacker.values(1, 2, 5) == [1.0, 1.0, 0.0]
    attacker.memory.close()


ALTERED = {
    "a row": "UPDATE blocks SET value = (SELECT value FROM blocks WHERE number = 2) WHERE number = 1",
    "a key": "UPDATE blocks SET keys = (SELECT keys FROM blocks WHERE number = 2) WHERE number = 1",
    "a block's number": "UPDATE blocks SET number = 7 WHERE number = 2",
    "a block lost": "DELETE FROM blocks WHERE number = 1",
    "the newest block lost": "DELETE FROM blocks WHERE number = 2",
    "a block of an open answer lost": "DELETE FROM blocks WHERE number = 3",
    "every block lost": "DELETE FROM blocks",
}


@pytest.mark.parametrize("altered", ALTERED)
def test_rows_that_are_not_what_was_written_are_found(altered: str, attacker: Attacker) -> None:
    attacker.take(0, 1.0, 1, 2)
    attacker.take(1, 2.0, 3, 4)
    attacker.write(3.0, 1)
    attacker.store(2)
    attacker.memory.close()
    database = sqlite3.connect(attacker.memory.path)
    assert database.execute(ALTERED[altered]).rowcount > 0
    database.commit()
    database.close()
    with pytest.raises(DamagedDatabaseError, match=r"attack-run\.sqlite is damaged"):
        AttackMemory(attacker.memory.path)


def test_a_memory_with_a_record_for_each_row_is_refused(attacker: Attacker) -> None:
    attacker.memory.close()
    text = '{"run": "a run"}'
    database = sqlite3.connect(attacker.memory.path)
    changed = (text, checksum("a run", "about", "attack", text))
    database.execute("UPDATE about SET (value, checksum) = (?, ?) WHERE name = 'attack'", changed)
    database.commit()
    database.close()
    with pytest.raises(DamagedDatabaseError, match="written by an earlier midstream, with other records"):
        AttackMemory(attacker.memory.path)


def test_state_and_rows_are_apart(tmp_path: Path) -> None:
    attacker = Attacker(tmp_path / "attack-run.sqlite")
    state: dict[str, Tensor] = {"smoothness": torch.tensor(2.0)}
    attacker.write(1.0, 1)
    answer = attacker.memory.store(0, b"came", b"went", state, kept_from=0, rows=attacker.rows)
    assert attacker.memory.acknowledge(answer.number)
    attacker.memory.keep(attacker.rows)
    again = attacker.again()
    assert again.memory.state() == state
    assert again.values(1) == [1.0]
    again.memory.close()
