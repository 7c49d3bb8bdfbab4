"""Attackers that make their histories in the game: what they drop is dropped, what they remember is kept."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from midstream import Batch, Budget, MomentumHistory
from midstream.players.referee import PlayerError
from midstream.protocol.wire import WireBatch, encode_batch
from midstream_proxy.attack import AttackSettings
from midstream_proxy.memory.attack_memory import AttackMemory
from midstream_proxy.memory.before import Copies
from midstream_proxy.memory.recognised import Going
from midstream_proxy.memory.remembered import RememberedAttack

BUDGET = Budget(1.0)
X = torch.tensor([[0.0, 0.5], [1.0, 0.0]])


class Remembers:
    """An attacker whose histories are made when a test says so."""

    def __init__(self, *names: str) -> None:
        self.histories = names
        self.add(*names)

    def add(self, *names: str) -> None:
        for name in names:
            setattr(self, name, MomentumHistory(0.5))

    def perturb(self, batch: Batch, view: object) -> Tensor:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        found = [(name, history) for name, history in vars(self).items() if name != "histories"]
        return {f"{name}.{key}": value for name, one in found for key, value in one.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.add(*{name.split(".")[0] for name in state} - vars(self).keys())
        for name, history in vars(self).items():
            if name != "histories":
                own = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
                history.load_state_dict({key.removeprefix(f"{name}."): own[key] for key in own})

    def blend(self, name: str, size: float) -> None:
        getattr(self, name).blend(X, torch.full_like(X, size), BUDGET)

    def recalled(self, name: str) -> list[float]:
        found: list[float] = getattr(self, name).recall(X).mean(dim=1).tolist()
        return found


class Attacked:
    """A run whose attacker does what a test says, and sends on what it got."""

    budget = BUDGET
    before: Any = None
    composed: Any = None

    def __init__(self, player: Remembers) -> None:
        self.player = player
        self.move: Callable[[], None] = lambda: None

    def attack(self, batch: WireBatch) -> WireBatch:
        self.move()
        return batch


def remembered(path: Path, player: Remembers) -> tuple[RememberedAttack, Attacked, AttackMemory]:
    going = Going("a run", AttackSettings(attacker="some", epsilon=1.0, norm="l2"))
    memory, attacked = AttackMemory(path), Attacked(player)
    if memory.begun is None:
        memory.begin({"run": going.run})
    rules: Any = SimpleNamespace(
        check=lambda batch, seq: None,  # noqa: ARG005
        specification=SimpleNamespace(name="some"),
    )
    server: Any = SimpleNamespace(identity=lambda: going.run)
    attack = RememberedAttack(attacked, rules, memory, server, going)  # type: ignore[arg-type]
    return attack, attacked, memory


def body(seq: int) -> bytes:
    return b"".join(encode_batch(WireBatch(seq, seq, X, torch.tensor([0, 1]), {})))


@pytest.mark.parametrize("clears", [False, True])
def test_a_failed_attack_gives_back_the_history_that_it_dropped(clears: bool) -> None:
    player = Remembers("history")
    player.blend("history", 0.5)
    copies, before = Copies("some", player), player.recalled("history")
    copies.mark()
    if clears:
        player.history.rows.clear()  # type: ignore[attr-defined]
    else:
        player.add("history")
    player.blend("history", 0.1)
    assert player.recalled("history") != before
    copies.back()
    assert player.recalled("history") == before


def test_a_history_that_is_made_in_the_game_survives_a_restart(tmp_path: Path) -> None:
    player = Remembers()
    attack, attacked, memory = remembered(tmp_path / "memory.sqlite", player)

    def makes_one() -> None:
        player.add("late")
        player.blend("late", 0.5)

    attacked.move = makes_one
    attack.answer(0, body(0))
    attack.acknowledged(kept_from=0)
    memory.close()
    again = Remembers()
    _, _, memory = remembered(memory.path, again)
    assert again.recalled("late") == player.recalled("late") != [0.0, 0.0]
    memory.close()


def test_a_second_history_that_is_made_in_the_game_is_refused(tmp_path: Path) -> None:
    player = Remembers("history")
    attack, attacked, memory = remembered(tmp_path / "memory.sqlite", player)
    attacked.move = lambda: player.add("second")
    with pytest.raises(PlayerError, match="'some' had one MomentumHistory at first"):
        attack.answer(0, body(0))
    memory.close()
