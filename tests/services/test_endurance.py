"""The endurance run in small: it must pass, and it must be able to fail."""

import json
import random
import shutil
from pathlib import Path

import pytest
from benchmarks.chaos.game import Game, undisturbed
from benchmarks.endurance.damage import files_of, inflict, snapshot
from benchmarks.endurance.plan import Draw, Event
from benchmarks.endurance.round import Round
from benchmarks.endurance.tally import Tally
from benchmarks.endurance.watch import FaultFoundError

pytestmark = pytest.mark.process

GAME = Game(
    {
        "dataset": "digits",
        "defender": "level-1",
        "train-size": "200",
        "validation-size": "50",
        "batch-size": "20",
        "epochs": "5",
    },
    attacker="evoshift",
)
WITHIN = 300.0
KILL = Event(0, ("server",), "checkpoint in place", WITHIN, None)  # after some steps
DAMAGES = [
    Event(1, ("proxy",), "forwarded", WITHIN, Draw("attack-game.sqlite", "folder deleted", 0.0, 0.0)),
    Event(2, ("server",), "recorded", WITHIN, Draw("specification.json", "number edited", 0.0, 0.0)),
]
"""The attacker's memory is deleted, and a number of the specification edited."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(GAME, tmp_path_factory.mktemp("reference"))


def test_a_game_that_is_killed_and_damaged_ends_in_the_undisturbed_bits(
    tmp_path: Path, reference: Path
) -> None:
    tally = Tally()
    killed = Round(GAME, tmp_path / "game", reference, tally, patience=WITHIN).play(iter([KILL, *DAMAGES]), 3)
    assert killed == tally.kills() == 3
    *_, memory, specification, together = tally.markdown().splitlines()
    assert "| folder deleted |" in memory
    assert "| specification.json | number edited |" in specification
    assert together == "| **together** |  | 0 | 0 | 2 |"  # both refused by name, and put back


def test_another_history_is_a_fault_with_all_that_befell_the_game(tmp_path: Path, reference: Path) -> None:
    other = Path(shutil.copytree(reference, tmp_path / "other"))
    lines = (other / "metrics.jsonl").read_text().splitlines()
    record = json.loads(lines[0]) | {"loss": 1.0}
    (other / "metrics.jsonl").write_text("\n".join([json.dumps(record), *lines[1:], ""]))
    with pytest.raises(FaultFoundError, match=r"(?s)line 0 of metrics.*0: server killed.*--- server"):
        Round(GAME, tmp_path / "game", other, Tally()).play(iter([KILL]), 1)


def test_every_damage_changes_what_was_there_and_can_be_undone(tmp_path: Path) -> None:
    folder, random_draw, kinds = tmp_path / "game", random.Random(0), set()
    for name, content in (
        ("runs/game/journal.sqlite", random_draw.randbytes(5000)),
        ("runs/game/journal.sqlite-wal", random_draw.randbytes(3000)),
        ("runs/game/metrics.jsonl", b'{"step": 1}\n' * 100),
        ("runs/game/open", b""),
        ("attacks/attack-game.sqlite", random_draw.randbytes(5000)),
        ("cache/1234.safetensors", random_draw.randbytes(2000)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "runs/game/server.log").write_text("not to be damaged")
    files = files_of(folder, ["runs/game", "attacks", "cache"])
    assert len(files) == 6
    now = snapshot(folder, files)
    earlier = [{file: content[:-1] + b"?" for file, content in now.items()}]
    for _ in range(250):
        draw = Draw(*(random_draw.random() for _ in range(4)))
        wound = inflict(draw, folder, now, earlier)
        assert wound is not None
        left = snapshot(folder, files_of(folder, ["runs/game", "attacks", "cache"]))
        assert left != now
        wound.undo()
        assert snapshot(folder, files_of(folder, ["runs/game", "attacks", "cache"])) == now
        kinds.add(wound.kind)
    assert kinds == {
        "block zeroed",
        "byte altered",
        "deleted",
        "folder deleted",
        "number edited",
        "older copy",
        "older copy of the database",
        "truncated",
    }
