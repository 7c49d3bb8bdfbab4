"""Several defenders as one: in the order written, in one ball, with numbers and memories of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import Idle, batch, equal, run, state
from torch import Tensor

from midstream import Batch, Budget, View, plugins
from midstream.players.course import learners
from midstream.players.referee import PlayerError, move
from midstream.players.wrappers.combination import Combination
from midstream.plugins import PluginError, make, members


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("level-1", ["level-1"]),
        ("level-1+cutmix", ["level-1", "cutmix"]),
        ("ddpm + cutmix,on=both + train-on-validation", ["ddpm", "cutmix,on=both", "train-on-validation"]),
        ("mine.py:Mine,lr=1e+3", ["mine.py:Mine,lr=1e+3"]),
        ("mine.py:Mine,lr=1e+3+cutmix", ["mine.py:Mine,lr=1e+3", "cutmix"]),
        ("mine.py:Mine,lr=+3", ["mine.py:Mine,lr=+3"]),
        ("./a+b.py:Mine", ["./a+b.py:Mine"]),
        ("/x/a+b/c+d.py:Mine,y=1+level-2", ["/x/a+b/c+d.py:Mine,y=1", "level-2"]),
        ("level-1+x/a+b.py:Mine", ["level-1", "x/a+b.py:Mine"]),
        ("mine.py:One+mine.py:Two", ["mine.py:One", "mine.py:Two"]),
        ("level-1+", ["level-1", ""]),
    ],
)
def test_what_a_plus_sign_parts(text: str, parts: list[str]) -> None:
    assert members(text) == parts


def test_a_file_with_a_plus_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a+b"
    folder.mkdir()
    (folder / "c+d.py").write_text(
        "class Mine:\n    def perturb(self, batch, view):\n        return 0 * batch.inputs\n"
    )
    name = f"{folder}/c+d.py:Mine"
    assert type(make("defenders", name)).__name__ == "Mine"
    assert type(make("attackers", name)).__name__ == "Mine"
    both = make("defenders", f"level-1+{name}", allowed=[name])
    assert both.names == ("level-1", name)
    with pytest.raises(PluginError, match=f"start it with --allow {folder}".replace("+", r"\+")):
        make("defenders", f"level-1+{name}", allowed=[])


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("defenders", "levle-1+cutmix", "there is no defender called 'levle-1'; did you mean 'level-1'"),
        ("defenders", "level-1+cutmx", "there is no defender called 'cutmx'; did you mean 'cutmix'"),
        (
            "defenders",
            "level-1+cutmix,onn=both",
            "no option of defender 'cutmix' called 'onn'; did you mean 'on'",
        ),
        ("defenders", "level-1+", "lacks a defender beside a plus sign"),
        ("defenders", "+level-1", "lacks a defender beside a plus sign"),
        ("attackers", "level-1+noise", "'level-1.noise' names 2 attackers, and a run has one"),
    ],
)
def test_a_combination_that_is_none(kind: Any, text: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        make(kind, text)


class Push(Idle):
    """Moves every pixel by so much."""

    def __init__(self, by: float) -> None:
        self.by = by
        self.seen: list[Tensor] = []

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.seen.append(batch.inputs.clone())
        view.report("pushed", self.by)
        batch.inputs.zero_()  # its own copy
        return torch.full_like(batch.inputs, self.by)


def combined(*players: Any) -> Combination:
    return Combination([(f"part-{number}", player) for number, player in enumerate(players)])


def grey() -> Batch:
    return Batch(0, torch.full((3, 1, 8, 8), 0.5), torch.tensor([0, 1, 2]))


def test_each_moves_what_the_one_before_left_within_one_ball() -> None:
    one, two = Push(0.25), Push(-0.125)
    view = run("none", epsilon=1.0).view()  # of which each of 64 pixels has an eighth
    moved = move("both", combined(one, two), grey(), view)
    assert torch.allclose(two.seen[0], torch.full((3, 1, 8, 8), 0.625))
    assert torch.allclose(moved, torch.full((3, 1, 8, 8), 0.5))
    out = move("both", combined(Push(0.25), Push(0.25)), grey(), view)
    assert torch.allclose(view.budget.size(out - grey().inputs), torch.ones(3))


@pytest.mark.parametrize("text", ["level-1+cutmix", "cutmix+level-1", "none+level-1+train-on-validation"])
def test_one_that_moves_nothing_leaves_the_others_move_as_it_is(text: str) -> None:
    view = run("none").view()
    alone, together = (move(name, make("defenders", name), batch(), view) for name in ("level-1", text))
    assert torch.equal(alone, together)


def test_the_members_draw_other_numbers() -> None:
    view = run("none").view()
    wide = View(**{**vars(view), "budget": Budget(100.0)})
    twice = make("defenders", "crop-ensemble,side=1+crop-ensemble,side=0.5")
    alone = move("alone", make("defenders", "crop-ensemble,side=0.5"), batch(), wide)
    assert not torch.equal(move("twice", twice, batch(), wide), alone)
    assert torch.equal(move("twice", twice, batch(), wide), move("twice", twice, batch(), wide))


def test_reports_under_one_name_are_told_apart() -> None:
    view = run("none").view()
    both = combined(Push(0.25), Push(0.5))
    for _ in range(2):
        view.reports.clear()
        move("both", both, grey(), view)
        assert view.reports == {"pushed": 0.25, "part_2_pushed": 0.5}


class Sum(Idle):
    """Remembers the mean pixel of all that it has seen."""

    def __init__(self) -> None:
        self.sum = torch.zeros(())

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.sum = self.sum + batch.inputs.mean()
        return super().perturb(batch, view) + self.sum / 100

    def state_dict(self) -> dict[str, Tensor]:
        return {"sum": self.sum}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sum = state["sum"]


def test_the_members_memories_survive_a_restart() -> None:
    def fresh() -> Combination:
        return combined(Sum(), plugins.make("defenders", "cutmix"), Sum())

    whole, first = run(fresh()), run(fresh())
    for made in (whole, first):
        made.train(batch(0))
    assert {name for name in first.state_dict() if name.startswith("defender.")} == {
        "defender.0.sum",
        "defender.2.sum",
    }
    again = run(fresh())
    again.load_state_dict(state(first), step=1)
    for made in (whole, again):
        made.train(batch(1))
    assert equal(state(whole), state(again))


def test_the_members_that_must_learn_are_found() -> None:
    class Learns(Idle):
        def course(self, ground: Any) -> Any:
            raise NotImplementedError

    one, two = Learns(), Learns()
    assert list(learners(combined(one, Push(0.1), combined(two)))) == [one, two]


def test_an_error_names_the_member() -> None:
    class Broken(Idle):
        def perturb(self, batch: Batch, view: View) -> Tensor:
            return super().perturb(batch, view)[:1]

        def augment(self, batch: Batch, view: View) -> Any:  # noqa: ARG002
            return None

    view = run("none").view()
    with pytest.raises(PlayerError, match=r"^defender 'part-1' returned shape \(1, 1, 8, 8\) at batch 0"):
        move("both", combined(Push(0.1), Broken()), grey(), view)
    with pytest.raises(PlayerError, match=r"^augment of defender 'part-1' returned a NoneType, not a Batch"):
        combined(Push(0.1), Broken()).augment(grey(), view)


def test_without_hooks_there_is_nothing_but_the_moves() -> None:
    both, plain = run(combined(Push(0.1), Push(0.0))), run(Push(0.1))
    for made in (both, plain):
        made.train(batch())
    assert equal(both.parameters(), plain.parameters())
    assert both.step == 1


def test_cutmix_mixes_what_another_rehearses_where_it_is_told_to() -> None:
    def rehearsed(on: str) -> list[int]:
        player = make("defenders", f"cutmix,on={on}+train-on-validation")
        view = run("none").view()
        last = batch(2)
        return [player.augment_rehearsal(one, view).labels.dim() for one in player.rehearse(last, view)]

    assert rehearsed("training") == [1] * 4
    assert rehearsed("validation") == rehearsed("both") == [2] * 4
