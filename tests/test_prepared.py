"""Learning before the game: found on disk, gone on with, or done now, and always the same outcome."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import learners as tiny
import pytest
import torch
from learners import Constant
from torch import Tensor, nn

from midstream import Budget
from midstream.attacks.levels import Level1
from midstream.players.course import Ground, learn, learners
from midstream.protocol.specification import Specification
from midstream.run.pretrained.prepared import LearningError, must_learn, prepare
from midstream_proxy.surrogates.surrogate import Playback

RUN = Specification.model_validate({"dataset": "digits"})
RANDOM = torch.Generator().manual_seed(0)
GROUND = Ground(
    validation_inputs=torch.rand(12, 1, 4, 4, generator=RANDOM),
    validation_labels=torch.arange(12) % 3,
    classes=3,
    budget=Budget(0.5),
    learning_rate=0.1,
    batch_size=4,
    seed=0,
    role="defender",
    model_source=lambda: nn.Linear(16, 3),
)


@dataclass
class Desk:
    """Where players learn, and what was told and said there."""

    cache: Path
    ground: Ground = GROUND
    run: Specification = RUN
    told: list[tuple[int, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def prepares(self, player: Constant | Playback, *, stops: int | None = None) -> Tensor:
        """Have a player learn, or interrupt it after a step; return what it learned."""

        def tell(step: int, steps: int, _: str) -> None:
            self.told.append((step, steps))
            if step == stops:
                raise InterruptedError

        self.told.clear()
        prepare(
            "constant", player, self.ground, run=self.run, cache=self.cache, tell=tell, say=self.said.append
        )
        (learned,) = learners(player)
        assert isinstance(learned, Constant)
        return learned.image.pixels


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "cache")


def test_what_was_learned_is_learned_once(desk: Desk) -> None:
    state = torch.get_rng_state()
    first = desk.prepares(Constant())
    assert desk.told == [(step, 20) for step in range(21)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(desk.prepares(Constant()), first)
    assert desk.told == []
    assert "is already pretrained" in desk.said[-1]
    here = Constant()
    learn(here, GROUND)
    assert torch.equal(here.image.pixels, first)


def test_interrupted_it_goes_on_to_the_same_bits(desk: Desk, tmp_path: Path) -> None:
    whole = Desk(tmp_path / "other").prepares(Constant())
    for stops in (1, 7, 8):
        with pytest.raises(InterruptedError):
            desk.prepares(Constant(), stops=stops)
    assert "continuing from step 7" in desk.said[-1]
    assert torch.equal(desk.prepares(Constant()), whole)
    assert desk.told[0] == (8, 20)


CHANGES: dict[str, Callable[[Desk], None]] = {
    "seed": lambda desk: setattr(desk, "ground", replace(GROUND, seed=1)),
    "role": lambda desk: setattr(desk, "ground", replace(GROUND, role="attacker")),
    "budget": lambda desk: setattr(desk, "ground", replace(GROUND, budget=Budget(0.4))),
    "data": lambda desk: setattr(
        desk, "ground", replace(GROUND, validation_inputs=GROUND.validation_inputs.flip(0))
    ),
    "model": lambda desk: setattr(desk, "run", RUN.model_copy(update={"model": "logistic"})),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_what_it_depends_on_matters(desk: Desk, changed: str) -> None:
    desk.prepares(Constant())
    CHANGES[changed](desk)
    desk.prepares(Constant())
    assert desk.told


def test_its_options_matter(desk: Desk) -> None:
    assert not torch.equal(desk.prepares(Constant()), desk.prepares(Constant(rate=0.2)))


def test_a_damaged_file_is_said_and_learned_again(desk: Desk) -> None:
    first = desk.prepares(Constant())
    (file,) = desk.cache.iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert torch.equal(desk.prepares(Constant()), first)
    assert any("SHA-256 differs; the Constant is trained again" in said for said in desk.said)


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(desk: Desk) -> None:
    desk.cache.write_text("a file")
    desk.prepares(Constant())
    assert any("cannot be cached" in said for said in desk.said)


def test_what_a_player_is_made_of_learns_too(desk: Desk) -> None:
    assert not must_learn(Level1())
    assert must_learn(Playback({}, Constant()))
    assert torch.equal(desk.prepares(Playback({}, Constant())), desk.prepares(Constant()))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (
            tiny.Diverging,
            "defender 'constant' could not learn before the game: the loss of step 0 is nan",
        ),
        (tiny.Broken, r"'no idea' \(learners.py, line \d+, in step\)"),
        (tiny.FromTrain, "the training data are known only to an attacker"),
    ],
)
def test_a_learning_that_fails_names_the_player(desk: Desk, kind: type[Constant], complaint: str) -> None:
    with pytest.raises(LearningError, match=complaint):
        desk.prepares(kind())


def test_what_a_failed_step_left_behind_is_not_kept(desk: Desk) -> None:
    with pytest.raises(LearningError):
        desk.prepares(tiny.Broken())
    assert not desk.cache.exists()
