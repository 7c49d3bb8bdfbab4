"""What an attacker remembers: whole or not at all, and no more written than what changed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from midstream.storage import DamagedDatabaseError, StorageError
from midstream_proxy.memory import AttackMemory


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def reopened(memory: AttackMemory) -> AttackMemory:
    memory.close()
    return AttackMemory(memory.path)


@pytest.fixture
def memory(tmp_path: Path) -> AttackMemory:
    return AttackMemory(tmp_path / "attacks/attack-run.sqlite")


def test_an_answer_and_the_state_after_it_survive(memory: AttackMemory) -> None:
    state = {"a": torch.rand(2, 3), "b": torch.tensor(2.0, dtype=torch.float64)}
    memory.store(4, b"clean", b"attacked", state, kept_from=0)
    again = reopened(memory)
    assert again.sent(4, b"clean") == b"attacked"
    assert again.sent(4, b"other") is None
    assert again.sent(3, b"clean") is None
    assert equal(again.state(), state)
    again.close()


def test_every_change_of_the_state_is_stored(memory: AttackMemory) -> None:
    state = {
        "same": torch.rand(3),
        "replaced": torch.zeros(3),
        "written to": torch.zeros(3),
        "gone": torch.ones(1),
    }
    memory.store(0, b"0", b"0", state, kept_from=0)
    state["replaced"] = torch.ones(3)
    state["written to"][1] = 7
    state["new"] = torch.full((2,), 5)
    del state["gone"]
    memory.store(1, b"1", b"1", state, kept_from=0)
    again = reopened(memory)
    assert equal(again.state(), state)
    again.close()


def test_a_state_that_was_read_back_is_followed_too(memory: AttackMemory) -> None:
    memory.store(0, b"0", b"0", {"a": torch.zeros(2), "b": torch.zeros(2)}, kept_from=0)
    second = reopened(memory)
    state = second.state()
    state["a"][0] = 1
    second.store(1, b"1", b"1", state, kept_from=0)
    third = reopened(second)
    assert equal(third.state(), {"a": torch.tensor([1.0, 0.0]), "b": torch.zeros(2)})
    third.close()


def test_only_what_changed_is_written(memory: AttackMemory) -> None:
    state = {str(number): torch.rand(1000) for number in range(200)}
    memory.store(0, b"0", b"0", state, kept_from=0)
    memory = reopened(memory)
    state = memory.state()
    log = memory.path.with_name(memory.path.name + "-wal")
    state["7"] = torch.rand(1000)
    before = log.stat().st_size
    memory.store(1, b"1", b"1", state, kept_from=0)
    assert log.stat().st_size - before < 200_000  # of 800,000 in all
    memory.close()


def test_answers_that_nobody_will_ask_for_are_deleted(memory: AttackMemory) -> None:
    for seq in range(6):
        memory.store(seq, b"came", b"went", {}, kept_from=max(0, seq - 2))
    assert [memory.sent(seq, b"came") for seq in range(6)] == [None] * 3 + [b"went"] * 3
    memory.close()


def test_two_processes_cannot_share_one(memory: AttackMemory) -> None:
    memory.store(0, b"0", b"0", {}, kept_from=0)
    with pytest.raises(StorageError, match="in use by another process"):
        AttackMemory(memory.path)
    memory.close()


def test_a_file_that_is_none_says_so(memory: AttackMemory) -> None:
    memory.close()
    memory.path.write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedDatabaseError, match=r"attack-run\.sqlite is damaged"):
        AttackMemory(memory.path)
