"""A share of the examples or of the batches: which are touched, and that nothing else is changed by it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CONV, Problem
from installed_players import OF_A_FILE, Chosen, installed, kind, ready
from installed_players import view as shown
from torch import Tensor
from views import view

from midstream import Batch, Budget, View, plugins
from midstream.players.course import Course, Ground, learners
from midstream.players.referee import PlayerError, move, relabelled, state_of
from midstream.players.wrappers.fraction import Fraction
from midstream_proxy.surrogates.surrogate import Playback

WIDE = Budget(0.5, low=-9, high=9)
SEEN = view(CONV.build(torch.float32), WIDE)
ATTACKERS = [
    chosen.text
    for chosen in installed("attackers")
    if "fraction" not in chosen.text and kind(chosen.text) not in OF_A_FILE
]


class Ones:
    """Moves everything by one, and gives every example the last class."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        self.seen.append(batch.seq)
        batch.inputs.zero_()
        return torch.ones_like(batch.inputs)

    def relabel(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return batch.labels.fill_(2)


def seen(seed: int = 0) -> View:
    return replace(SEEN, seed=seed)


def examples(size: int) -> Tensor:
    return torch.rand(size, 2, 3, 3, generator=torch.Generator().manual_seed(0))


def touched(player: Any, inputs: Tensor, seq: int = 0, seed: int = 0) -> Tensor:
    moved: Tensor = player.perturb(
        Batch(seq, inputs.clone(), torch.zeros(len(inputs), dtype=torch.int64)), seen(seed)
    )
    assert ((moved == 0) | (moved == 1)).all()
    return moved.flatten(1).any(dim=1)


@pytest.mark.parametrize(
    ("text", "fraction_of"),
    [*((text, "examples") for text in ATTACKERS), ("level-1", "batches"), ("label-flip", "batches")],
)
def test_all_of_it_is_the_attacker_itself_to_the_bit(text: str, fraction_of: str) -> None:
    p, chosen = CONV.build(torch.float32, batch=4), Chosen("attackers", text)
    texts = (text, f"{text},fraction=1,fraction_of={fraction_of}")
    players = [ready(Chosen("attackers", one), p, WIDE) for one in texts]
    for seq in range(2):
        batch, looked = Batch(seq, p.inputs, p.labels), shown(chosen, p, WIDE)
        bare, whole = (move(text, player, batch, looked) for player in players)
        assert torch.equal(bare, whole)
        bare, whole = (relabelled(text, player, batch, looked) for player in players)
        assert torch.equal(bare, whole)
    bare_state, whole_state = map(state_of, players)
    assert bare_state.keys() == whole_state.keys()
    assert all(torch.equal(bare_state[name], whole_state[name]) for name in bare_state)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_an_example_is_touched_at_every_visit_or_never(fraction: float) -> None:
    inputs = examples(2000)
    first = touched(Fraction(inner=Ones(), fraction=fraction), inputs)
    assert first.double().mean().item() == pytest.approx(fraction, abs=0.05 if 0 < fraction < 1 else 0)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1))[:700]
    again = touched(Fraction(inner=Ones(), fraction=fraction), inputs[order], seq=8)
    assert torch.equal(again, first[order])


def test_a_smaller_share_is_among_a_larger_and_another_seed_has_another() -> None:
    inputs = examples(500)
    small, large = (touched(Fraction(inner=Ones(), fraction=share), inputs) for share in (0.2, 0.6))
    assert (large | ~small).all()
    assert not torch.equal(small, touched(Fraction(inner=Ones(), fraction=0.2), inputs, seed=1))


def test_a_batch_is_touched_whole_or_not_at_all() -> None:
    inner, inputs = Ones(), examples(3)
    player = Fraction(inner=inner, fraction=0.3, fraction_of="batches")
    rows = torch.stack([touched(player, inputs, seq) for seq in range(1000)])
    assert torch.equal(rows.all(dim=1), rows.any(dim=1))
    assert rows[:, 0].double().mean().item() == pytest.approx(0.3, abs=0.06)
    assert inner.seen == rows[:, 0].nonzero().flatten().tolist()


@pytest.mark.parametrize("fraction_of", ["examples", "batches"])
def test_labels_are_changed_where_inputs_are(fraction_of: Any) -> None:
    inputs, labels = examples(40), torch.zeros(40, dtype=torch.int64)
    player = Fraction(inner=Ones(), fraction=0.4, fraction_of=fraction_of)
    for seq in range(6):
        found = relabelled("ones", player, Batch(seq, inputs, labels), seen())
        assert torch.equal(found == 2, touched(player, inputs, seq))
        assert set(found.tolist()) <= {0, 2}
    assert not labels.any()


def test_an_attacker_that_changes_no_labels_and_has_no_memory_stays_so() -> None:
    player = Fraction(inner=plugins.make("attackers", "noise"), fraction=0.5)
    labels = torch.arange(40) % 3
    assert torch.equal(relabelled("noise", player, Batch(0, examples(40), labels), seen()), labels)
    assert state_of(player) == {}
    player.load_state_dict({})


def test_untouched_examples_are_zero_and_the_others_as_without_it() -> None:
    p: Problem = CONV.build(torch.float32, batch=30)
    bare, part = (
        plugins.make("attackers", text).perturb(Batch(0, p.inputs, p.labels), view(p, WIDE))
        for text in ("level-2,steps=2,beta=0", "level-2,steps=2,beta=0,fraction=0.5")
    )
    moved = part.flatten(1).any(dim=1)
    assert 0 < moved.sum() < 30
    assert torch.equal(part[moved], bare[moved])


def test_memory_passes_through() -> None:
    p = CONV.build(torch.float32)
    text = "level-1,fraction=0.5,fraction_of=batches"
    whole, first, second = (plugins.make("attackers", text) for _ in range(3))
    expected = [whole.perturb(Batch(seq, p.inputs, p.labels), view(p, WIDE)) for seq in range(8)]
    for seq in range(4):
        first.perturb(Batch(seq, p.inputs, p.labels), view(p, WIDE))
    second.load_state_dict(state_of(first))
    for seq in range(4, 8):
        found = second.perturb(Batch(seq, p.inputs, p.labels), view(p, WIDE))
        assert torch.equal(found, expected[seq])
    assert state_of(first)["rows"].shape[1:] == (2, 8, 8)


class Learning(Ones):
    """Has something to learn before the game."""

    def course(self, ground: Ground) -> Course:
        raise NotImplementedError


def test_what_must_learn_is_found_inside() -> None:
    inner = Learning()
    assert list(learners(Fraction(inner=inner))) == [inner]
    assert list(learners(Playback({}, inner))) == [inner]
    assert list(learners(Fraction(inner=Playback({}, inner)))) == [inner]


class Wrong(Ones):
    """Breaks a rule."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return self.answer  # type: ignore[return-value]

    relabel = perturb


@pytest.mark.parametrize("answer", [None, torch.ones(2), torch.full((40, 2, 3, 3), float("nan"))])
def test_a_broken_rule_is_the_hosts_to_find(answer: object) -> None:
    batch = Batch(0, examples(40), torch.zeros(40, dtype=torch.int64))
    with pytest.raises(PlayerError, match="returned"):
        move("wrong", Fraction(inner=Wrong(answer), fraction=0.5), batch, seen())
    with pytest.raises(PlayerError, match="as labels"):
        relabelled("wrong", Fraction(inner=Wrong(answer), fraction=0.5), batch, seen())


PLUGIN = """
class Own:
    def __init__(self, *, fraction: int = 7):
        self.fraction = fraction

    def perturb(self, batch, view):
        return 0 * batch.inputs

class Plain:
    def __init__(self, *, strength: float = 1.0):
        self.strength = strength

    perturb = Own.perturb

class Idle:
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return str(tmp_path / "plugin.py")


def test_one_of_your_own_takes_it_and_one_that_has_the_option_keeps_it(plugin: str) -> None:
    own = plugins.make("attackers", f"{plugin}:Own,fraction=3")
    assert (type(own).__name__, own.fraction) == ("Own", 3)
    plain = plugins.make("attackers", f"{plugin}:Plain,fraction=0.25,strength=2")
    assert isinstance(plain, Fraction)
    assert (plain.fraction, plain.fraction_of) == (0.25, "examples")
    assert type(plain.inner).__name__ == "Plain"
    assert getattr(plain.inner, "strength", None) == 2.0
    assert type(plugins.make("attackers", f"{plugin}:Plain")).__name__ == "Plain"


@pytest.mark.parametrize(
    ("side", "text", "words"),
    [
        (
            "attackers",
            "level-1,fraction=1.5",
            "'level-1,fraction=1.5': fraction is a share, from 0 to 1, not 1.5",
        ),
        ("attackers", "level-1,fraction=nan", "'nan', which is not a number"),
        ("attackers", "level-3,fraction=some", "option 'fraction' of 'level-3' is 'some', not a number"),
        ("attackers", "noise,fraction_of=pixels", "'pixels'.* Known: batches, examples"),
        ("attackers", "noise,fractoin=0.5", "did you mean 'fraction'"),
        ("attackers", "{plugin}:Own,fraction_of=batches", "no option of .* called 'fraction_of'"),
        ("attackers", "{plugin}:Idle,fraction=0.5", "no method perturb"),
        ("attackers", "level-2,k=3,fraction=0.5", "names its level twice"),
        ("defenders", "level-1,fraction=0.5", "no option of defender 'level-1' called 'fraction'"),
    ],
)
def test_what_is_no_share(plugin: str, side: Any, text: str, words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.make(side, text.format(plugin=plugin))
