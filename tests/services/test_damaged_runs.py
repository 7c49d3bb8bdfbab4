"""A damaged run folder is refused by the file's name, by every command that reads one.

`midstream play` is started on one in test_play_goes_on.py.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from midstream.command.games.game import GamePlan
from midstream.protocol.specification import Specification
from services import tiny
from services.conftest import Ended
from services.games import in_one_process

pytestmark = pytest.mark.slow

Midstream = Callable[..., Ended]

DEEP = "[" * 100_000
FILES = ["specification.json", "environment.json", "metrics.jsonl", "result.json", "scenario.yaml"]
DAMAGE: dict[str, bytes] = {
    "empty": b"\n",
    "cut": b'{"run": "da',
    "binary": bytes(range(128, 256)),
    "list": b"[1, 2]",
    "number": b"3",
    "bare": b'{"a": 1}\n',
    "deep": DEEP.encode(),
}


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("games")
    in_one_process(out, "none", "none", name="whole")
    return out / "whole"


@pytest.fixture
def copy(game: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(game, tmp_path / game.name))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(
    file: str, damage: str, copy: Path, game: Path, midstream: Midstream
) -> None:
    (copy / file).write_bytes(DAMAGE[damage])
    commands = [["inspect", str(copy)]]
    if damage == "cut":
        commands += [["compare", str(game), str(copy)], ["robustness", str(copy)]]
    for words in commands:
        ended = midstream(*words)
        if file == "environment.json" and damage == "bare":
            continue  # it is shown as it is
        assert ended.code == 1, (words, ended)
        assert str(copy / file) in ended.err.splitlines()[-1]
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("specification.json", '"epsilon": ', '"epsilon": "a lot", "was": ', "'epsilon' is 'a lot'"),
        ("specification.json", '"name": ', '"nome": ', "it lacks 'name'"),
        (
            "metrics.jsonl",
            '"step": 2,',
            '"step": "two",',
            "line 2 is damaged: 'step' is 'two'",
        ),
        ("metrics.jsonl", '"step": 3,', '"stop": 3,', "metrics.jsonl, line 3 is damaged: it lacks 'step'"),
        ("result.json", '"test_accuracy": ', '"test_accuracy": null, "was": ', "'test_accuracy' is None"),
        ("scenario.yaml", "attack-epsilon: ", "attack-epsilon: lots\nwas: ", "'attack-epsilon' is 'lots'"),
        ("scenario.yaml", "attacker: ", "attacker: &a ", "line 2 has the anchor or alias 'a'"),
    ],
)
def test_one_value_that_is_none_is_named(
    file: str, old: str, new: str, words: str, copy: Path, midstream: Midstream
) -> None:
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    ended = midstream("inspect", str(copy))
    assert ended.code == 1
    assert words in ended.err


def test_a_file_that_is_gone_is_named(copy: Path, midstream: Midstream) -> None:
    (copy / "metrics.jsonl").unlink()
    ended = midstream("inspect", str(copy))
    assert ended.code == 1
    assert f"{copy / 'metrics.jsonl'} is not there" in ended.err


def test_a_setting_out_of_range_stops_robustness(copy: Path, midstream: Midstream) -> None:
    path, result = copy / "specification.json", copy / "result.json"
    unsigned = {k: v for k, v in json.loads(result.read_text()).items() if k not in ("files", "sha256")}
    result.write_text(json.dumps(unsigned))  # as by a version that recorded no digests
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": -1, "batch_size": "many"}))
    ended = midstream("robustness", str(copy))
    assert ended.code == 1
    assert f"{path} is invalid: batch_size: " in ended.err
    assert "epochs: Input should be greater than or equal to 1, not -1" in ended.err


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("cut", "is damaged: Unterminated string"),
        ("list", "was altered after the run was started: it is no longer a JSON object"),
        ("deep", "is damaged: maximum recursion depth exceeded"),
        ("binary", "is damaged: 'utf-8' codec can't decode"),
    ],
)
def test_play_leaves_a_game_to_its_server_which_says_why_it_cannot_go_on(
    damage: str, why: str, copy: Path
) -> None:
    (copy / "open").touch()
    (copy / "specification.json").write_bytes(DAMAGE[damage])
    specification = Specification.model_validate({"name": copy.name})
    assert GamePlan(specification, "none", specification.budget, out=copy.parent).begun
    registry = tiny.registry(copy.parent)
    registry.take_up([copy.name])
    assert f"{copy / 'specification.json'} {why}" in registry.set_aside[copy.name].sentence
