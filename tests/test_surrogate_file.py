"""Surrogates are kept: what is found again is the same to the bit, and nothing else is found."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from black_box_attacker import HIDDEN, Attacker
from safetensors import safe_open
from services import tiny

import midstream
from midstream.plugins.finding import file_module
from midstream.protocol.wire import tensors_sha256
from midstream.run.datasets import Examples
from midstream.run.pretrained import learned
from midstream.run.pretrained.learned import LEARNED_BY, cache_folder, code_sha256
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.surrogates.surrogate import SurrogateSettings


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that holds the surrogate of the attacker that the tests begin with."""
    folder = tmp_path_factory.mktemp("trained") / "cache"
    attacker = new_attacker(folder)
    attacker.starts()
    assert attacker.told
    return folder


def new_attacker(cache: Path) -> Attacker:
    return Attacker(cache, surrogate=SurrogateSettings(epochs=1))


@pytest.fixture
def attacker(tmp_path: Path, cache: Path) -> Attacker:
    """Return an attacker whose surrogate was trained before, if nothing is changed."""
    return new_attacker(Path(shutil.copytree(cache, tmp_path / "cache")))


def only_file(attacker: Attacker) -> Path:
    (file,) = attacker.cache.iterdir()
    return file


def played(run: BlackBoxRun) -> list[torch.Tensor]:
    """Return what a game's batches are turned into, unknown inputs among them."""
    batches = [tiny.batch(seq) for seq in range(tiny.STEPS)]
    strange = [replace(batch, inputs=batch.inputs.flip(-1)) for batch in batches]
    return [run.attack(batch).inputs for batch in [*batches, *strange]]


@pytest.mark.parametrize("name", ["level-1,beta=0.5", "level-1,beta=0,utility=exact"])
def test_one_that_is_found_plays_like_the_one_that_was_trained(tmp_path: Path, name: str) -> None:
    attacker = new_attacker(tmp_path / "cache")
    attacker.attacker = name
    trained = attacker.starts()
    assert attacker.told
    before = only_file(attacker).stat()
    found = attacker.starts()
    assert attacker.told == []
    assert str(only_file(attacker)) in attacker.said[-1]
    after = only_file(attacker).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert found.surrogate.validation_losses == trained.surrogate.validation_losses
    assert tensors_sha256(found.surrogate.training.state_dict()) == tensors_sha256(
        trained.surrogate.training.state_dict()
    )
    assert all(map(torch.equal, played(found), played(trained)))


def test_the_file_says_what_it_is_and_needs_no_pickle(attacker: Attacker) -> None:
    with safe_open(only_file(attacker), framework="pt") as file:
        metadata, names = file.metadata(), set(file.keys())
        assert file.get_tensor("perturbations").shape == (25, 1, 8, 8)
    assert {"keys", "perturbations", "validation_losses"} < names
    assert '"attacker": "level-1,beta=0.5"' in metadata["description"]


PLUGIN = """
from midstream import level_1_attack

class Plugin:
    def perturb(self, batch, view):
        v = view.validation_gradient()
        return {sign}level_1_attack(
            view.model, batch.inputs, batch.labels, validation_gradient=v, budget=view.budget
        )
"""


def other_run(**update: Any) -> Callable[[Attacker], None]:
    return lambda attacker: setattr(attacker, "run", HIDDEN.model_copy(update=update))


def other_surrogate(**update: Any) -> Callable[[Attacker], None]:
    return lambda attacker: setattr(attacker, "surrogate", replace(attacker.surrogate, **update))


CHANGES: dict[str, Callable[[Attacker], None]] = {
    "attacker": lambda attacker: setattr(attacker, "attacker", "level-1,beta=0.6"),
    "epsilon": lambda attacker: setattr(attacker, "epsilon", 1.4),
    "norm": other_run(norm="linf"),
    "pixel range": other_run(pixel_range="unbounded"),
    "learning rate": other_run(learning_rate=0.001),
    "optimizer": other_run(optimizer="sgd"),
    "batch size": other_run(batch_size=9),
    "training data": other_run(train_size=24),
    "the run's seed": other_run(seed=1),
    "architecture": other_surrogate(model="digits-cnn,dropout=0.2"),
    "epochs": other_surrogate(epochs=3),
    "seed": other_surrogate(seed=5),
    "part of the data": other_surrogate(train_size=20),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_surrogate_depends_on_makes_it_another(attacker: Attacker, change: str) -> None:
    CHANGES[change](attacker)
    attacker.starts()
    assert attacker.told
    assert len(list(attacker.cache.iterdir())) == 2


@pytest.mark.parametrize(
    "update", [{"defender": "level-1"}, {"epsilon": 0.5}, {"max_steps": 3}, {"name": "b"}]
)
def test_what_it_does_not_depend_on_does_not(attacker: Attacker, update: dict[str, Any]) -> None:
    other_run(**update)(attacker)
    attacker.starts()
    assert attacker.told == []


def test_the_public_validation_set_matters(attacker: Attacker, monkeypatch: pytest.MonkeyPatch) -> None:
    split = tiny.split()
    other = Examples(split.validation.inputs.flip(-1), split.validation.labels)
    monkeypatch.setattr(tiny, "split", lambda: replace(split, validation=other))
    attacker.starts()
    assert attacker.told


@pytest.mark.parametrize("options", ["", ",fraction=0.5"])
def test_the_code_of_a_plugin_matters(attacker: Attacker, tmp_path: Path, options: str) -> None:
    file = tmp_path / "plugin.py"
    attacker.attacker = f"{file}:Plugin{options}"
    for sign in ("", "-"):
        file.write_text(PLUGIN.format(sign=sign))
        file_module.cache_clear()  # as in another process
        attacker.starts()
        assert attacker.told
    assert len(list(attacker.cache.iterdir())) == 3


@pytest.mark.parametrize("folder", LEARNED_BY)
def test_an_edit_of_the_code_that_something_was_learned_by_is_noticed(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Path(midstream.__file__).parent / folder
    assert list(inside.glob("*.py")), f"{folder} is no folder of the library any more"
    copy = tmp_path / folder / "deeper"
    copy.mkdir(parents=True)
    (copy / "module.py").write_text("EPSILON = 1")
    monkeypatch.setattr(learned, "__file__", str(tmp_path / "run" / "learned.py"))
    before = code_sha256()
    assert code_sha256() == before
    (copy / "module.py").write_text("EPSILON = 2")
    assert code_sha256() != before


def test_every_folder_that_a_player_is_made_of_counts() -> None:
    """A folder that the players import, and that is not in the list, would leave old learnings in use."""
    library = Path(midstream.__file__).parent
    imported = {
        found
        for name in ("attacks", "defences", "mathematics", "networks", "players")
        for path in (library / name).rglob("*.py")
        for found in re.findall(r"^ *(?:from|import) midstream\.(\w+)", path.read_text(), flags=re.M)
    }
    assert imported <= {*LEARNED_BY, "errors"}  # an error class changes nothing that is learned


def flip(place: Callable[[int], int]) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[place(len(content))] ^= 1
        return bytes(changed)

    return change


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit of a tensor": flip(lambda size: size - 9),
    "a bit of the header": flip(lambda _: 40),
    "a bit of its length": flip(lambda _: 0),
    "the end": lambda content: content[:-100],
    "everything": lambda _: b"",
    "another file": lambda _: b"no safetensors at all",
}


@pytest.fixture(scope="module")
def moves(cache: Path) -> list[torch.Tensor]:
    return played(new_attacker(cache).starts())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_noticed_and_trained_again(
    attacker: Attacker, moves: list[torch.Tensor], damage: str
) -> None:
    file = only_file(attacker)
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[damage](whole))
    run = attacker.starts()
    assert attacker.told
    assert any(str(file) in said and "trained again" in said for said in attacker.said)
    assert only_file(attacker).read_bytes() == whole
    assert all(map(torch.equal, played(run), moves))


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(attacker: Attacker) -> None:
    shutil.rmtree(attacker.cache)
    attacker.cache.write_text("a file")
    run = attacker.starts()
    assert any("cannot be cached" in said for said in attacker.said)
    assert len(run.surrogate.perturbations) == 25


def test_where_surrogates_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("surrogates") == tmp_path / "midstream/surrogates"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("surrogates") == tmp_path / "home/.cache/midstream/surrogates"
