"""Poisons of data without a pixel range, and of data without classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import midstream
from midstream.command.export.exporting import export
from midstream.command.games.game import GameError
from midstream.plugins import PluginError
from midstream.run.poisons.poison import PoisonError, read_poison

TINY: dict[str, Any] = {
    "train_size": 40,
    "validation_size": 40,
    "batch_size": 20,
    "epochs": 1,
    "device": "cpu",
    "threads": 1,
}


def play(out: Path, dataset: str, attacker: str, **settings: Any) -> midstream.GameResult:
    return midstream.play(**TINY, **settings, dataset=dataset, attacker=attacker, out=out)


def test_a_table_without_a_pixel_range_moves_further_than_one_and_replays_to_the_same_bits(
    tmp_path: Path,
) -> None:
    sent = play(tmp_path, "breast-cancer", "level-1,beta=0", epsilon=8.0, run="sent")
    _, path = export(str(sent.folder))
    poison = read_poison(path)
    assert poison.perturbation.abs().max() > 1
    played = play(tmp_path, "breast-cancer", f"replay,path={path}", epsilon=8.0, run="again")
    assert played.parameters_sha256 == sent.parameters_sha256
    poison.perturbation[0, 0] = torch.inf
    poison.write(path)
    with pytest.raises(PoisonError, match="they must be finite"):
        read_poison(path)


def test_a_regression_is_not_exported(tmp_path: Path) -> None:
    sent = play(tmp_path, "diabetes", "level-1", run="sent")
    with pytest.raises(GameError, match="is not a run of classification"):
        export(str(sent.folder))


@pytest.mark.parametrize(("options", "why"), [("", "holds classes"), (",by=class", "for each class")])
def test_a_file_with_classes_does_not_play_a_regression(options: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "poison.npz"
    rows = np.zeros((442, 10), np.float32)
    np.savez(path, perturbations=rows, label=np.zeros(len(rows), np.int64))
    with pytest.raises(PluginError, match=f"does not play regression: its file .*{why}"):
        play(tmp_path, "diabetes", f"replay,path={path}{options}")


def test_a_file_without_classes_plays_a_regression(tmp_path: Path) -> None:
    path = tmp_path / "poison.npy"
    np.save(path, np.full((442, 10), 0.5, np.float32))
    assert play(tmp_path, "diabetes", f"replay,path={path}", run="moved").steps == 2
