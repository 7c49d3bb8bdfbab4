"""A budget per side: the attacker and the defender are each held to a ball of their own.

Over HTTP, test_run_folder.py plays a game with a ball for each to the same bits.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import Tensor

from midstream.mathematics.budget import Budget, Norm
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.storage.run_folder import read_metrics
from services.conftest import Ended

# Asks for far more than it may have, and for nothing that the pixel range would cut off. What the defender
# is given is what the attacker sent.
GREEDY = """
import safetensors.torch

class Greedy:
    def __init__(self, folder: str = ""):
        self.folder = folder

    def perturb(self, batch, view):
        if self.folder:
            kept = {"inputs": batch.inputs.contiguous()}
            safetensors.torch.save_file(kept, f"{self.folder}/{batch.seq}.safetensors")
        return 100 * (0.5 - batch.inputs).sign().where(batch.inputs != 0.5, 1.0)
"""
SIZE = ["--train-size", "50", "--validation-size", "20", "--batch-size", "25", "--epochs", "2"]
STEPS = 4


@pytest.mark.parametrize(
    ("flags", "attack", "defense"),
    [
        ("--epsilon 0.3", (0.3, "l2"), (0.3, "l2")),
        ("--epsilon 0.3 --attack-epsilon 0.1", (0.1, "l2"), (0.3, "l2")),
        ("--epsilon 0.1 --attack-epsilon 0.02 --attack-norm linf", (0.02, "linf"), (0.1, "l2")),
    ],
)
def test_each_side_has_its_own_ball(
    midstream: Callable[..., Ended],
    tmp_path: Path,
    flags: str,
    attack: tuple[float, Norm],
    defense: tuple[float, Norm],
) -> None:
    player = tmp_path / "greedy.py"
    player.write_text(GREEDY)
    (tmp_path / "received").mkdir()
    players = ["--attacker", f"{player}:Greedy", "--defender", f"{player}:Greedy,folder={tmp_path}/received"]
    how = ["--transport", "local", "--out", str(tmp_path), "--run", "game", "--threads", "1", "--json"]
    ended = midstream("play", *players, *flags.split(), *SIZE, *how)
    assert ended.code == 0, ended.err
    outcome: dict[str, Any] = json.loads(ended.out)
    assert (outcome["attack_epsilon"], outcome["attack_norm"]) == attack
    assert (outcome["epsilon"], outcome["norm"]) == defense
    for clean, received in zip(clean_batches(tmp_path / "game"), received_batches(tmp_path), strict=True):
        moved = Budget(*attack).size(received - clean)
        assert moved.tolist() == pytest.approx([attack[0]] * len(moved), rel=1e-4)
    corrections = [record["correction"] for record in read_metrics(tmp_path / "game")]
    assert corrections == pytest.approx([defense[0]] * STEPS, rel=1e-4)


def clean_batches(folder: Path) -> list[Tensor]:
    specification = Specification.model_validate_json((folder / "specification.json").read_bytes())
    source = BatchSource(specification, load_split(specification, Source()).train)
    return [source.batch(seq).inputs for seq in range(STEPS)]


def received_batches(folder: Path) -> list[Tensor]:
    names = [folder / f"received/{seq}.safetensors" for seq in range(STEPS)]
    return [safetensors.torch.load_file(name)["inputs"] for name in names]
