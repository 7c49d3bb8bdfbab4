"""What an attacker remembers: whole or not at all, no more written than what changed, held to checksums."""

import shutil
import sqlite3
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from midstream.storage.sqlite import DamagedDatabaseError, StorageError
from midstream_proxy.memory.attack_memory import AttackMemory


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def begun(path: Path, run: str = "a run") -> AttackMemory:
    memory = AttackMemory(path)
    memory.begin({"run": run})
    memory.start({})
    return memory


def reopened(memory: AttackMemory) -> AttackMemory:
    memory.close()
    return AttackMemory(memory.path)


def take(memory: AttackMemory, seq: int, state: dict[str, Tensor], *, kept_from: int = 0) -> None:
    answer = memory.store(seq, b"came", b"went %d" % seq, state, kept_from=kept_from)
    assert memory.acknowledge(answer.number)


def gone_over(memory: AttackMemory, seqs: range) -> list[bytes | None]:
    found = [memory.answer(seq, b"came") for seq in seqs]
    return [answer and answer.body for answer in found]


@pytest.fixture
def memory(tmp_path: Path) -> AttackMemory:
    return begun(tmp_path / "attacks/attack-run.sqlite")


def test_an_answer_and_the_state_after_it_survive(memory: AttackMemory) -> None:
    state = {"a": torch.rand(2, 3), "b": torch.tensor(2.0, dtype=torch.float64)}
    take(memory, 0, state)
    again = reopened(memory)
    assert gone_over(again, range(2)) == [b"went 0", None]
    assert again.answer(0, b"other") is None
    assert again.position == 1
    assert equal(again.state(), state)
    again.close()


def test_the_state_before_a_batch_is_the_attackers_until_that_is_acknowledged(memory: AttackMemory) -> None:
    before = {"same": torch.rand(3), "replaced": torch.zeros(3), "gone": torch.ones(1)}
    take(memory, 0, before)
    after = {"same": before["same"], "replaced": torch.ones(3), "new": torch.full((2,), 5)}
    memory.store(1, b"came", b"went 1", after, kept_from=0)
    again = reopened(memory)
    assert again.position == 1
    assert equal(again.state(), before)
    (answer,) = again.open_answers()
    assert answer.body == b"went 1"
    assert again.acknowledge(answer.number)
    assert equal(again.before({}), after)
    third = reopened(again)
    assert third.position == 2
    assert equal(third.state(), after)
    third.close()


def test_of_two_answers_to_one_batch_the_acknowledged_one_counts(memory: AttackMemory) -> None:
    take(memory, 0, {"a": torch.zeros(1)})
    first = memory.store(1, b"first", b"went", {"a": torch.ones(1)}, kept_from=0)
    state = memory.before({"a": torch.ones(1)})
    assert equal(state, {"a": torch.zeros(1)})
    memory.store(1, b"second", b"went too", {"a": torch.full((1,), 2.0)}, kept_from=0)
    assert memory.acknowledge(first.number)
    again = reopened(memory)
    assert equal(again.state(), {"a": torch.ones(1)})
    assert again.answer(1, b"second") is None
    assert list(again.open_answers()) == []
    again.close()


def test_every_change_of_the_state_is_stored_and_can_be_undone(memory: AttackMemory) -> None:
    def fresh() -> dict[str, Tensor]:
        return {
            "same": torch.arange(3.0),
            "replaced": torch.zeros(3),
            "written to": torch.zeros(3),
            "gone": torch.ones(1),
        }

    state = fresh()
    take(memory, 0, state)
    state["replaced"] = torch.ones(3)
    state["written to"][1] = 7
    state["new"] = torch.full((2,), 5)
    del state["gone"]
    undone = memory.before(state)
    assert equal(undone, fresh())
    assert undone["same"] is state["same"]
    take(memory, 1, state)
    again = reopened(memory)
    assert equal(again.state(), state)
    again.close()


def test_a_state_that_was_read_back_is_followed_too(memory: AttackMemory) -> None:
    take(memory, 0, {"a": torch.zeros(2), "b": torch.zeros(2)})
    second = reopened(memory)
    state = second.state()
    state["a"][0] = 1
    take(second, 1, state)
    third = reopened(second)
    assert equal(third.state(), {"a": torch.tensor([1.0, 0.0]), "b": torch.zeros(2)})
    third.close()


def test_only_what_changed_is_written(memory: AttackMemory) -> None:
    take(memory, 0, {str(number): torch.rand(1000) for number in range(200)})
    memory = reopened(memory)
    state = memory.state()
    log = memory.path.with_name(memory.path.name + "-wal")
    state["7"] = torch.rand(1000)
    before = log.stat().st_size
    take(memory, 1, state)
    take(memory, 2, state)
    assert log.stat().st_size - before < 400_000  # of 800,000 in all, twice
    memory.close()


def test_answers_that_nobody_will_ask_for_are_deleted(memory: AttackMemory) -> None:
    for seq in range(6):
        take(memory, seq, {}, kept_from=max(0, seq - 2))
    assert gone_over(memory, range(6)) == [None] * 3 + [b"went 3", b"went 4", b"went 5"]
    memory.close()


def test_contents_without_end_under_one_number_do_not_fill_the_disk(memory: AttackMemory) -> None:
    for number in range(30):
        memory.store(0, b"content %d" % number, b"went", {"a": torch.rand(2)}, kept_from=0)
    memory = reopened(memory)
    assert len(list(memory.open_answers())) == 8
    assert memory.answer(0, b"content 29")
    memory.close()


def test_two_processes_cannot_share_one(memory: AttackMemory) -> None:
    take(memory, 0, {})
    with pytest.raises(StorageError, match="in use by another process"):
        AttackMemory(memory.path)
    memory.close()


def test_a_file_that_is_none_says_so(memory: AttackMemory) -> None:
    memory.close()
    memory.path.write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedDatabaseError, match=r"attack-run\.sqlite is damaged"):
        AttackMemory(memory.path)


def test_a_file_of_an_earlier_version_says_so(tmp_path: Path) -> None:
    path = tmp_path / "attack-run.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE begun (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    database.close()
    with pytest.raises(DamagedDatabaseError, match="an earlier midstream, without checksums"):
        AttackMemory(path)


RECORDS = {
    "an answer": "UPDATE answers SET body = X'00' WHERE seq = 0",
    "an answer's place": "UPDATE answers SET seq = 5 WHERE seq = 0",
    "an answer lost": "DELETE FROM answers WHERE seq = 1",
    "a tensor": "UPDATE tensors SET value = (SELECT value FROM tensors WHERE name = 'b') WHERE name = 'a'",
    "a tensor's name": "UPDATE tensors SET name = 'c' WHERE name = 'a'",
    "a tensor lost": "DELETE FROM tensors WHERE name = 'a' AND number = 1",
    "how it was begun": "UPDATE about SET value = replace(value, 'a run', 'a nun') WHERE name = 'attack'",
    "that it was begun": "DELETE FROM about WHERE name = 'attack'",
    "where it stands": "UPDATE about SET value = replace(value, '\"position\": 1', '\"position\": 2')",
    "that it stands anywhere": "DELETE FROM about WHERE name = 'place'",
    "a record of another run": "UPDATE about SET (value, checksum) = "
    "(SELECT value, checksum FROM other.about WHERE name = 'place') WHERE name = 'place'",
}


@pytest.mark.parametrize("altered", RECORDS)
def test_a_record_that_is_not_what_was_written_is_found(
    altered: str, memory: AttackMemory, tmp_path: Path
) -> None:
    for one in (memory, other := begun(tmp_path / "other.sqlite", "another run")):
        take(one, 0, {"a": torch.zeros(2), "b": torch.ones(2)})
        one.store(1, b"came", b"went 1", {"a": torch.ones(2)}, kept_from=0)
        one.close()
    database = sqlite3.connect(memory.path)
    database.execute("ATTACH ? AS other", (str(other.path),))
    assert database.execute(RECORDS[altered]).rowcount > 0
    database.commit()
    database.close()
    with pytest.raises(DamagedDatabaseError, match=r"attack-run\.sqlite is damaged"):
        AttackMemory(memory.path)


def whole(path: Path) -> object:
    """Return all that can be asked of a memory; a game of which it is a moment depends on nothing else."""
    memory = AttackMemory(path)
    state = {name: value.tolist() for name, value in memory.state().items()}
    answers = [(answer.seq, answer.body) for answer in memory.open_answers()]
    found = memory.begun, memory.position, state, answers, gone_over(memory, range(4))
    memory.close()
    return found


@pytest.mark.parametrize("where", ["", "-wal"])
def test_a_byte_that_is_another_one_is_found_or_leads_to_an_earlier_moment(
    where: str, tmp_path: Path
) -> None:
    memory = begun(tmp_path / "live.sqlite")
    moments, copies = [], tmp_path / "copies"
    state: dict[str, Tensor] = {}

    def copied(name: str) -> Path:
        copies.mkdir(exist_ok=True)
        for suffix in ("", "-wal"):
            beside = memory.path.with_name(memory.path.name + suffix)
            if beside.exists():
                shutil.copy(beside, copies / (name + suffix))
        return copies / name

    nothing = AttackMemory(tmp_path / "nothing.sqlite")
    nothing.close()
    moments += [whole(nothing.path), whole(copied("begun"))]
    for seq in range(3):
        state = {**state, str(seq): torch.rand(5), "each": torch.rand(5000)}
        answer = memory.store(seq, b"came", b"went %d" % seq, state, kept_from=0)
        moments.append(whole(copied(f"stored {seq}")))
        memory.acknowledge(answer.number)
    if not where:
        memory.close()
    sound = copied("sound")
    moments.append(whole(copied("sound too")))
    memory.close()
    content = bytearray(sound.with_name(sound.name + where).read_bytes())
    random, found = Random(0), 0
    for _ in range(100):
        place = random.randrange(len(content))
        changed = bytearray(content)
        changed[place] ^= random.randrange(1, 256)
        damaged = copies / "damaged"
        for suffix in ("", "-wal", "-shm"):
            damaged.with_name("damaged" + suffix).unlink(missing_ok=True)
            if (beside := sound.with_name("sound" + suffix)).exists():
                shutil.copy(beside, damaged.with_name("damaged" + suffix))
        damaged.with_name("damaged" + where).write_bytes(changed)
        try:
            assert whole(damaged) in moments, place
        except DamagedDatabaseError:
            found += 1
    assert where or found > 5
