"""Poisons in and out: what a run's attacker sent as a file, and files of perturbations as an attacker."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

import midstream
from midstream.command.games.game import GameError
from midstream.command.main import cli
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.plugins import PluginError, make
from midstream.run import datasets
from midstream.run.datasets import Examples, Source
from midstream.run.poisons.poison import Poison, PoisonError, read_poison
from midstream.run.poisons.recorder import Recorder
from midstream.storage.run_files import read_records

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "dataset": "digits",
    "train_size": 25,
    "validation_size": 40,
    "batch_size": 10,
    "epochs": 2,
    "device": "cpu",
    "threads": 1,
    "follow": lambda *_: None,
}


def play(out: Path, attacker: str, **settings: Any) -> midstream.GameResult:
    return midstream.play(**{**TINY, "attacker": attacker, "out": out, **settings})


def export(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["export", str(folder), "--threads", "1", *words])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a game whose attacker moves inputs and flips labels."""
    out = tmp_path_factory.mktemp("played")
    (out / "flipping.py").write_text(
        "from midstream.attacks.levels import Level1\n"
        "class Flipping(Level1):\n"
        "    def relabel(self, batch, view):\n"
        "        return (batch.labels + 1) % 10\n"
    )
    return play(out, f"{out}/flipping.py:Flipping,beta=0", run="sent").folder


@pytest.fixture(scope="module")
def poison(run: Path) -> Poison:
    """Return the poison of that game, exported by the command."""
    ended = export(run, "--json")
    assert ended.exit_code == 0, ended.output
    card = json.loads(ended.stdout)
    assert card["path"] == str(run / "poison.safetensors")
    found = read_poison(run / "poison.safetensors")
    assert card == {**found.card, "sha256": found.sha256(), "path": card["path"]}
    return found


def test_the_rows_are_what_was_sent_last(poison: Poison) -> None:
    train = datasets.load("digits", Source()).train
    assert len(poison.index) == len(set(poison.index.tolist())) == 25
    clean = train[poison.index]
    assert [bytes(row.tolist()) for row in poison.hash] == content_keys(clean.pixels())
    assert torch.equal(poison.label, (clean.labels + 1) % 10)
    assert poison.perturbation.flatten(1).norm(dim=1).min() >= 0.5
    assert poison.perturbation.flatten(1).norm(dim=1).max() <= 1.5 + 1e-5
    assert poison.seq.min() == 3  # the second epoch's first minibatch
    assert poison.card["epsilon"] == 1.5
    assert poison.card["dataset"] == "digits"


def as_npz(poison: Poison, path: Path) -> Path:
    rows, index, label = (part.numpy() for part in (poison.perturbation, poison.index, poison.label))
    np.savez(path / "poison.npz", perturbations=rows, index=index, label=label)
    return path / "poison.npz"


def whole(poison: Poison) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a row for each training example of the data set, as the papers publish them."""
    rows = np.zeros((1400, 1, 8, 8), dtype=np.float32)
    rows[poison.index.numpy()] = poison.perturbation.numpy()
    return rows


def test_a_poison_and_the_same_as_npz_play_to_the_same_bits(
    run: Path, poison: Poison, tmp_path: Path
) -> None:
    exported = play(tmp_path, f"replay,path={run / 'poison.safetensors'}", run="exported")
    plain = play(tmp_path, f"replay,path={as_npz(poison, tmp_path)}", run="plain")
    clean = play(tmp_path, "none", run="clean")
    assert plain.parameters_sha256 == exported.parameters_sha256 != clean.parameters_sha256
    assert {record["attacker"]["replayed"] for record in read_records(exported.folder / "metrics.jsonl")} == {
        1.0
    }


def test_every_form_of_an_array_plays_to_the_same_bits(poison: Poison, tmp_path: Path) -> None:
    rows = whole(poison)
    (tmp_path / "each").mkdir()
    for place in poison.index.tolist():
        np.save(tmp_path / "each" / f"{place:05d}.npy", rows[place])
    np.save(tmp_path / "whole.npy", rows)
    np.savez(tmp_path / "whole.npz", delta=rows)
    np.save(tmp_path / "bytes.npy", np.moveaxis(rows, 1, -1) * 255)
    ends = [
        play(tmp_path, f"replay,path={tmp_path}/{form}", run=f"run-{form}").parameters_sha256
        for form in ("each", "whole.npz")
    ]
    assert ends[0] == ends[1]
    for form in ("whole.npy", "bytes.npy,scale=0.00392156862745098"):
        read = make("attackers", f"replay,path={tmp_path}/{form}")
        assert torch.allclose(read._fitted((1, 8, 8)), torch.from_numpy(rows), atol=1e-6)


def test_every_perturbation_sent_replays_the_very_game(run: Path, tmp_path: Path) -> None:
    assert export(run, "--all", "--to", str(tmp_path / "all.safetensors")).exit_code == 0
    again = play(tmp_path, f"replay,path={tmp_path}/all.safetensors", run="again")
    assert again.parameters_sha256 == midstream.GameResult.load(run).parameters_sha256


def test_a_perturbation_for_each_class(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(-0.1, 0.1, (10, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "class.npy", rows)
    with midstream.Game(
        **{**TINY, "attacker": f"replay,path={tmp_path}/class.npy,by=class", "out": tmp_path}
    ) as game:
        for step in game:
            assert step.attacked is not None
            wanted = (step.clean + torch.from_numpy(rows)[step.labels]).clamp(0, 1)
            assert torch.allclose(step.attacked, wanted, atol=1e-6)


def edited(poison: Poison, **tensors: Tensor) -> Callable[[Path], None]:
    return lambda path: replace(poison, **tensors).write(path)  # type: ignore[arg-type]


def test_a_damaged_file_is_refused(run: Path, poison: Poison, tmp_path: Path) -> None:
    content = bytearray((run / "poison.safetensors").read_bytes())
    content[-1] ^= 1
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(PluginError, match=r"damaged: its rows have SHA-256 [0-9a-f]{64}, its card says"):
        make("attackers", f"replay,path={path}")
    with pytest.raises(PluginError, match=r"by=class and scale=1 are for arrays; .*: leave both out"):
        make("attackers", f"replay,path={path},by=class")
    path.write_bytes(content[:100])
    with pytest.raises(PluginError, match="cannot be read as a safetensors file"):
        make("attackers", f"replay,path={path}")
    nan = poison.perturbation.clone()
    nan[0] = torch.nan
    faults = {
        r"range from -?\S+ to 2;": edited(
            poison, perturbation=poison.perturbation.clone().index_fill_(0, torch.tensor(0), 2.0)
        ),
        "hold a NaN": edited(poison, perturbation=nan),
        r"'label' of .* is torch.int64 of shape \(3,\), not": edited(poison, label=poison.label[:3]),
        "'hash' of .* is torch.int64": edited(poison, hash=poison.hash.long()),
        "float64": edited(poison, perturbation=poison.perturbation.double()),
    }
    for words, write in faults.items():
        write(path)
        with pytest.raises(PluginError, match=words):
            make("attackers", f"replay,path={path}")


def test_an_array_that_does_not_fit_is_refused(poison: Poison, tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.npy", whole(poison)

    def refused(words: str, options: str = "", file: Path = path) -> None:
        with pytest.raises((PluginError, midstream.MidstreamError), match=words):
            play(tmp_path, f"replay,path={file}{options}")

    np.save(path, rows[:, :, :7])
    refused(r"have shape \(1, 7, 8\), the inputs of the game \(1, 8, 8\)")
    np.save(path, rows[:25])
    refused("has 25 rows, and the game uses example")
    np.save(path, rows)
    refused("has 1400 rows; this game has 10 classes", ",by=class")
    np.save(path, rows * 255)
    refused("must lie in .* add scale=")
    np.save(path, np.array([object()]))
    refused("needs no pickle")
    np.savez(tmp_path / "two.npz", a=rows, b=rows)
    refused("holds the arrays a, b; name the one to play", file=tmp_path / "two.npz")
    np.savez(tmp_path / "labels.npz", rows=rows, label=np.full(1400, 12))
    refused("has the label 12; this game has 10 classes", file=tmp_path / "labels.npz")
    np.savez(tmp_path / "index.npz", rows=rows[:2], index=np.array([-1, 3]))
    refused("must hold 2 whole numbers of at least 0", file=tmp_path / "index.npz")
    np.savez(tmp_path / "none.npz", rows=rows[:1], index=np.array([1399]))
    refused("no example of .* is among the training data", file=tmp_path / "none.npz")
    refused("there is no file", file=tmp_path / "missing.npy")
    (tmp_path / "words.npz").write_text("no archive")
    refused("is not a .npz of numbers", file=tmp_path / "words.npz")
    np.savez_compressed(tmp_path / "damaged.npz", rows=rows)
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[60:90] = bytes([255] * 30)
    (tmp_path / "damaged.npz").write_bytes(content)
    refused("is not a .npz of numbers", file=tmp_path / "damaged.npz")
    refused("scale is a finite factor", ",scale=0")
    edited(poison, label=poison.label - 100)(tmp_path / "negative.safetensors")
    refused("has the label -[0-9]+; this game has 10 classes", file=tmp_path / "negative.safetensors")


def test_a_run_that_is_another_game_now_is_refused(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.iterdir():
        if file.is_file() and file.name != "poison.safetensors":
            (copy / file.name).write_bytes(file.read_bytes())
    scenario = copy / "scenario.yaml"
    lines = scenario.read_text().splitlines()
    attacker = next(number for number, line in enumerate(lines) if line.startswith("attacker:"))
    scenario.write_text("\n".join([*lines[:attacker], "attacker: noise", *lines[attacker + 1 :]]))
    ended = export(copy)
    assert isinstance(ended.exception, GameError)
    assert "so its attacker sent something else here" in str(ended.exception)
    assert not (copy / "poison.safetensors").exists()
    scenario.unlink()
    assert "its attacker is unknown" in str(export(copy).exception)


def test_a_run_without_attacker_has_nothing_to_export(tmp_path: Path) -> None:
    ended = export(play(tmp_path, "none").folder)
    assert "nothing was sent" in str(ended.exception)


def test_a_run_without_classes_is_not_exported(tmp_path: Path) -> None:
    game = play(tmp_path, "level-1", dataset="diabetes")
    ended = export(game.folder)
    assert "the task of" in str(ended.exception)
    assert "is regression" in str(ended.exception)
    assert not (game.folder / "poison.safetensors").exists()


def test_a_file_with_labels_is_not_played_at_targets(poison: Poison, tmp_path: Path) -> None:
    poison.write(file := tmp_path / "poison.safetensors")
    with pytest.raises(PluginError, match="its file is about classes, and this run has none"):
        play(tmp_path, f"replay,path={file}", dataset="diabetes")


def test_what_a_file_may_not_hold_is_not_written(tmp_path: Path) -> None:
    game = play(tmp_path, "level-1,beta=0", dataset="phrases", attack_epsilon=30.0)
    ended = export(game.folder)
    assert "must lie in [-1, 1]" in str(ended.exception)
    assert not (game.folder / "poison.safetensors").exists()


def test_an_edited_poison_is_another_game(poison: Poison, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    poison.write(path)
    play(tmp_path, f"replay,path={path}", run="one")
    assert play(tmp_path, f"replay,path={path}", run="one", resume=True).steps == 6
    replace(poison, perturbation=-poison.perturbation).write(path)
    with pytest.raises(midstream.MidstreamError, match=r"the file of .*mine.safetensors was edited"):
        play(tmp_path, f"replay,path={path}", run="one", resume=True)


def test_a_recorder_needs_the_places() -> None:
    train = Examples(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="places of the training examples"):
        Recorder(train)
    recorder = Recorder(replace(train, index=torch.tensor([4, 3])))
    with pytest.raises(ValueError, match="no minibatch"):
        recorder.poison({})


def test_equal_examples_share_their_first_place() -> None:
    inputs = torch.rand(1, 1, 2, 2).expand(3, 1, 2, 2)
    recorder = Recorder(Examples(inputs, torch.tensor([0, 0, 0]), torch.tensor([7, 2, 5])))
    recorder.add(0, inputs, inputs * 0.5, torch.tensor([0, 0, 0]))
    assert recorder.poison({}).index.tolist() == [2]


def test_a_poison_error_is_a_midstream_error() -> None:
    assert issubclass(PoisonError, midstream.MidstreamError)
