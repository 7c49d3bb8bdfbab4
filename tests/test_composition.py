"""Attackers that drop, repeat, add and reorder examples: which are sent, and what a host refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from cases import CONV
from torch import Tensor
from views import view

import midstream
from midstream import Batch, Budget, View, plugins
from midstream.command.api.settings import SettingError
from midstream.command.export.exporting import export
from midstream.command.games.game import GameError
from midstream.players.fixed import is_fixed
from midstream.players.referee import PlayerError
from midstream.players.wrappers.composing import MOST, composed, composes
from midstream.protocol.wire import WireBatch
from midstream.storage.attacked import attacked, truth_file
from midstream_proxy.truth import note

SEEN = view(CONV.build(torch.float32), Budget(0.5))
BATCH = Batch(3, torch.rand(10, 2, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3)
TINY: dict[str, Any] = {"train_size": 25, "validation_size": 40, "batch_size": 10, "epochs": 1, "threads": 1}


def sent(options: str, seen: View = SEEN) -> Batch:
    player = plugins.make("attackers", f"none,{options}")
    return composed("none", player, BATCH, seen)


def places(found: Tensor, among: Tensor) -> list[int]:
    """Return where each example stands among others; -1 for one that is not there."""
    same = (found[:, None] == among).flatten(2).all(2)
    return [int(row.nonzero()[0]) if row.any() else -1 for row in same]


def test_dropped_examples_are_missing_and_the_others_keep_their_order_and_labels() -> None:
    found = sent("drop=0.3")
    kept = places(found.inputs, BATCH.inputs)
    assert len(kept) == 7
    assert kept == sorted(set(kept))
    assert torch.equal(found.labels, BATCH.labels[kept])
    assert len(sent("drop=1").labels) == 1


def test_repeated_examples_come_twice_and_no_other_does() -> None:
    kept = places(sent("repeat=0.4").inputs, BATCH.inputs)
    assert sorted(set(kept)) == list(range(10))
    assert len(kept) == 14
    assert max(kept.count(place) for place in kept) == 2


def test_added_examples_are_those_of_dval_with_their_labels() -> None:
    known = SEEN.validation_inputs
    found = sent("add=0.3")
    assert places(found.inputs[:10], BATCH.inputs) == list(range(10))
    rows = places(found.inputs[10:], known)
    assert len(set(rows)) == min(3, len(known))
    assert torch.equal(found.labels[10:], SEEN.validation_labels[rows])


def test_an_attacker_with_a_part_of_dval_adds_only_of_that_part() -> None:
    found = sent("add=1,dval=0.01")
    assert len(found.labels) == 11


def test_the_order_is_the_seeds() -> None:
    orders = [
        places(sent("reorder=true", replace(SEEN, seed=seed)).inputs, BATCH.inputs) for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] != list(range(10))


def test_only_what_adversarial_providers_send_is_composed() -> None:
    player = plugins.make("attackers", "none,drop=0.5,providers=2,adversarial=1")
    lengths = [len(composed("none", player, replace(BATCH, seq=seq), SEEN).labels) for seq in range(4)]
    assert sorted(lengths[:2]) == [5, 10]
    assert lengths[2:] == lengths[:2]


def test_of_some_batches_only_those_are_composed() -> None:
    player = plugins.make("attackers", "none,drop=0.5,fraction=0.5,fraction_of=batches")
    lengths = {len(composed("none", player, replace(BATCH, seq=seq), SEEN).labels) for seq in range(9)}
    assert lengths == {5, 10}


def test_the_numbers_are_reported() -> None:
    seen = replace(SEEN, reports={})
    sent("drop=0.3,repeat=0.1,add=0.2", seen)
    assert seen.reports == {"dropped": 3, "repeated": 1, "added": 2}


@pytest.mark.parametrize("options", ["drop=1.5", "repeat=-0.1", "add=0.8,repeat=0.4"])
def test_a_share_that_no_run_would_take_is_refused(options: str) -> None:
    with pytest.raises(plugins.PluginError, match=r"share|twice"):
        plugins.make("attackers", f"none,{options}")


class Composes:
    """Sends what it was given, whatever that is."""

    fixed = True

    def __init__(self, found: object) -> None:
        self.found = found

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(batch.inputs)

    def compose(self, batch: Batch, view: View) -> Any:  # noqa: ARG002
        return self.found


X, Y = BATCH.inputs, BATCH.labels


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "NoneType, not a Batch"),
        (Batch(3, X[:0], Y[:0]), "0 examples; 10 came, so there may be 1 to 20"),
        (Batch(3, X.repeat(3, 1, 1, 1), Y.repeat(3)), "30 examples"),
        (Batch(3, X, Y[:9]), "10 inputs with 9 labels"),
        (Batch(3, X.double(), Y), "float64"),
        (Batch(3, X[:, :1], Y), r"\(10, 1, 8, 8\)"),
        (Batch(3, X + 1, Y), "leave the pixel range"),
        (Batch(3, X * float("nan"), Y), "leave the pixel range"),
    ],
)
def test_what_is_no_minibatch_of_the_run_is_refused_by_name(found: object, message: str) -> None:
    with pytest.raises(PlayerError, match=f"attacker 'own' composed .*{message}.* at batch 3"):
        composed("own", Composes(found), BATCH, SEEN)


def test_a_player_that_composes_is_no_fixed_program_and_others_are_not_asked() -> None:
    assert MOST == 2
    assert not is_fixed(Composes(BATCH))
    assert not composes(plugins.make("attackers", "level-1,fraction=0.5"))
    plain = plugins.make("attackers", "level-1")
    assert composed("level-1", plain, BATCH, SEEN) is BATCH


def test_the_attackers_log_names_what_it_added_or_moved_and_not_what_it_repeated(tmp_path: Path) -> None:
    more = torch.rand(1, 2, 8, 8)
    inputs = torch.cat([X[5:], X[5:6], more, X[:1] * 0.5])
    labels = torch.cat([Y[5:], Y[5:6], Y[:1], Y[:1]])
    note(truth_file(tmp_path, "game"), WireBatch(3, None, X, Y), WireBatch(3, 3, inputs, labels))
    assert attacked(tmp_path) == {3: frozenset({6, 7})}


def test_a_game_takes_such_minibatches_unless_it_may_not() -> None:
    with pytest.raises(SettingError, match="batch-sizes exact refuses"):
        midstream.play(**TINY, attacker="none,drop=0.5", batch_sizes="exact", out="unused")
    with pytest.raises(SettingError, match="attackers only move"):
        midstream.play(**TINY, attacker="none,drop=0.5", access="black-box", out="unused")


def test_a_composed_game_is_not_exported(tmp_path: Path) -> None:
    game = midstream.play(
        **TINY, attacker="noise,repeat=0.5", device="cpu", out=tmp_path, run="game", follow=lambda *_: None
    )
    assert list(game.metrics["examples"]) == [15, 15, 7]
    with pytest.raises((GameError, click.UsageError), match="sends other examples"):
        export(str(game.folder))


@pytest.mark.parametrize(
    "option", ["stealth=0.5", "tokens=nearest", "drop=0", "fraction=0.5", "providers=2", "stale=1"]
)
def test_an_attacker_of_ones_own_composes_within_every_option(tmp_path: Path, option: str) -> None:
    (tmp_path / "half.py").write_text(
        "from midstream import Batch\n"
        "class Half:\n"
        "    def compose(self, batch, view):\n"
        "        return Batch(batch.seq, batch.inputs[::2], batch.labels[::2])\n"
        "    def perturb(self, batch, view):\n"
        "        return batch.inputs * 0\n"
    )
    player = plugins.make("attackers", f"{tmp_path / 'half.py'}:Half,{option}")
    assert composes(player)
    found = composed("half", player, replace(BATCH, seq=0), SEEN)
    assert len(found.labels) in ({5, 10} if option == "providers=2" else {5})
