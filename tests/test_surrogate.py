"""The black-box attacker: its surrogate, the record it plays back, and what it does without one."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache as cache_of_a_process
from pathlib import Path

import pytest
import torch
from black_box_attacker import CPU, EPOCHS, HIDDEN, Attacker
from services import tiny
from torch import Tensor

from midstream import Batch, Budget, level_1_attack, validation_gradient
from midstream.mathematics.seeds import derive
from midstream.plugins import PluginError
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch, tensors_sha256
from midstream.run.batches import BatchSource
from midstream.run.datasets import Source
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.black_box import BlackBoxRun, find_surrogate
from midstream_proxy.surrogates.surrogate import SurrogateError, SurrogateSettings, converged
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun

PERCEPTRON = """
import math
from torch import nn

def perceptron(input_shape, classes):
    features = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, classes))
"""


@pytest.fixture
def attacker(tmp_path: Path) -> Attacker:
    return Attacker(tmp_path / "cache")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that the tests of this module share; what is found in it plays as if trained now."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def ready(cache: Path) -> Attacker:
    """Return an attacker whose surrogate another test may have trained."""
    return Attacker(cache)


def oracle(attacker: Attacker, model: str = "auto") -> tuple[TrainingRun, dict[int, Tensor]]:
    """Return an undefended, white-box game of the surrogate's on a server's own training run.

    With it, the last image that was sent in the place of each example, by the example's number.
    """
    return _oracle(attacker.attacker, attacker.epsilon, model)


@cache_of_a_process
def _oracle(attacker: str, epsilon: float, model: str) -> tuple[TrainingRun, dict[int, Tensor]]:
    game = {"model": model, "seed": derive(0, "surrogate"), "epochs": EPOCHS, "name": "oracle"}
    specification = Specification.model_validate(tiny.SPECIFICATION | game)
    run = TrainingRun(specification, tiny.split(), device=CPU)
    attacked = AttackedRun(LocalGame(run), AttackSettings(attacker, epsilon, allowed=None))
    batches = BatchSource(specification, tiny.split().train)
    last: dict[int, Tensor] = {}
    for seq in range(run.total_steps):
        clean = batches.batch(seq)
        sent = attacked.attack(clean).inputs
        last.update(zip(numbers(clean), sent, strict=True))
        run.train(Batch(seq, sent, clean.labels))
    return run, last


def numbers(batch: WireBatch) -> list[int]:
    """Return which of the training examples a batch holds."""
    train = tiny.split().train.inputs.flatten(1)
    return [int((train == x).all(dim=1).nonzero().item()) for x in batch.inputs.flatten(1)]


def game_batches() -> Iterator[WireBatch]:
    return (tiny.batch(seq) for seq in range(tiny.STEPS))


def test_an_optimizer_that_the_server_names_is_loaded_only_if_it_is_allowed_here(attacker: Attacker) -> None:
    name = "torch.optim:NAdam"
    attacker.run = HIDDEN.model_copy(update={"optimizer": name})
    with pytest.raises(PluginError, match=f"optimizer '{name}' is code that this process was not told"):
        attacker.starts()
    surrogate = attacker.starts(allowed=frozenset({name})).surrogate
    assert isinstance(surrogate.training.optimization.optimizer, torch.optim.NAdam)


def test_the_weights_of_the_surrogate_are_the_attackers_own_choice(
    attacker: Attacker, tmp_path: Path
) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "ours.pt")
    attacker.surrogate = replace(attacker.surrogate, model=f"mlp,weights={tmp_path / 'ours.pt'}")
    with pytest.raises(PluginError, match="do not fit the model"):  # so they were read
        attacker.starts()


def test_the_surrogate_is_a_white_box_game_of_its_own(attacker: Attacker) -> None:
    surrogate = attacker.starts().surrogate
    expected, _ = oracle(attacker)
    assert tensors_sha256(surrogate.training.parameters()) == tensors_sha256(expected.parameters())
    assert len(surrogate.validation_losses) == EPOCHS
    assert surrogate.validation_losses[-1] == pytest.approx(expected.evaluate().validation_loss)
    assert attacker.told == list(range(expected.total_steps + 1))
    assert "had not converged after 4 epochs" in attacker.said[-1]


def test_each_inputs_last_perturbation_is_played_back(ready: Attacker) -> None:
    run = ready.starts()
    _, last = oracle(ready)
    assert len(run.surrogate.perturbations) == len(last) == tiny.SPECIFICATION["train_size"]
    for batch in game_batches():
        attacked = run.attack(batch)
        expected = torch.stack([last[number] for number in numbers(batch)])
        torch.testing.assert_close(attacked.inputs, expected, rtol=0, atol=1e-6)
        assert (attacked.inputs - batch.inputs).flatten(1).norm(dim=1).min() > 0.1
        assert attacked.report == {"known_inputs": len(batch.labels), "unknown_inputs": 0}
        assert attacked.parameters_version is None
        assert torch.equal(attacked.labels, batch.labels)


def test_an_input_is_known_by_its_content_alone(ready: Attacker) -> None:
    run = ready.starts()
    batch = tiny.batch(0)
    played = run.attack(batch).inputs
    turned = WireBatch(5, None, batch.inputs.flip(0)[:7], torch.zeros(7, dtype=torch.int64))
    assert torch.equal(run.attack(turned).inputs, played.flip(0)[:7])
    assert torch.equal(run.attack(batch).inputs, played)


@pytest.mark.parametrize("known", [0, 4])
def test_an_unknown_input_gets_the_white_box_move_on_the_surrogate(ready: Attacker, known: int) -> None:
    ready.attacker = "level-1,beta=0"
    run = ready.starts()
    batch = tiny.batch(0)
    played = run.attack(batch).inputs
    strange = batch.inputs.flip(-1)
    mixed = replace(batch, inputs=torch.cat([batch.inputs[:known], strange[known:]]))
    attacked = run.attack(mixed)
    assert attacked.report == {"known_inputs": known, "unknown_inputs": len(batch.labels) - known}
    assert torch.equal(attacked.inputs[:known], played[:known])

    surrogate, _ = oracle(ready)
    budget, dval = Budget(ready.epsilon), tiny.split().validation
    v = validation_gradient(surrogate.model, dval.inputs, dval.labels)
    move = level_1_attack(surrogate.model, mixed.inputs, mixed.labels, validation_gradient=v, budget=budget)
    assert torch.equal(attacked.inputs[known:], budget.perturb(mixed.inputs, move)[known:])


def test_an_attacker_with_part_of_the_data_knows_that_part(attacker: Attacker) -> None:
    attacker.surrogate = SurrogateSettings(epochs=EPOCHS, train_size=12)
    run = attacker.starts()
    reports = [run.attack(batch).report for batch in game_batches()]
    assert sum(report["known_inputs"] for report in reports) == 2 * 12
    assert sum(report["unknown_inputs"] for report in reports) == 2 * 13


def test_the_surrogates_architecture_is_the_attackers_choice(attacker: Attacker, tmp_path: Path) -> None:
    file = tmp_path / "perceptron.py"
    file.write_text(PERCEPTRON)
    attacker.surrogate = SurrogateSettings(f"{file}:perceptron", epochs=EPOCHS)
    run = attacker.starts()
    expected, last = oracle(attacker, f"{file}:perceptron")
    assert "1.weight" in run.surrogate.training.parameters()
    assert tensors_sha256(run.surrogate.training.parameters()) == tensors_sha256(expected.parameters())
    for batch in game_batches():
        images = torch.stack([last[number] for number in numbers(batch)])
        torch.testing.assert_close(run.attack(batch).inputs, images, rtol=0, atol=1e-6)


def test_its_seed_is_its_own(ready: Attacker) -> None:
    first = ready.starts().surrogate.training.parameters()
    ready.surrogate = SurrogateSettings(epochs=EPOCHS, seed=7)
    second = ready.starts().surrogate.training.parameters()
    assert tensors_sha256(first) != tensors_sha256(second)


@pytest.mark.parametrize(
    "name", ["level-2", "influence,max_iterations=3", "level-1,utility=exact,lookahead=1"]
)
def test_whatever_the_attacker_is_it_is_played_on_the_surrogate(attacker: Attacker, name: str) -> None:
    attacker.attacker = name
    attacker.surrogate = SurrogateSettings(epochs=2)
    run = attacker.starts()
    for batch in game_batches():
        moved = (run.attack(batch).inputs - batch.inputs).flatten(1).norm(dim=1)
        assert moved.min() > 0
        assert moved.max() <= attacker.epsilon * (1 + 1e-5)


def test_a_local_run_that_is_black_box_shows_its_attacker_as_much_as_a_server_does() -> None:
    game = LocalGame(TrainingRun(HIDDEN, tiny.split(), device=CPU))
    for closed in (
        game.model,
        lambda: game.parameters(0),
        lambda: game.validation_gradient(0),
        lambda: game.training_step(0),
    ):
        with pytest.raises(Problem, match="black-box") as refused:
            closed()
        assert refused.value.status == 403
    assert game.specification().model == "hidden"
    assert len(game.validation()["labels"]) == 40


def test_without_the_data_there_is_no_surrogate(attacker: Attacker) -> None:
    elsewhere = HIDDEN.model_copy(update={"dataset": "mnist"})
    attacker.run = elsewhere
    with pytest.raises(SurrogateError, match=r"black-box.*--data-root"):
        attacker.starts(source=Source())


def test_what_is_raised_while_it_trains_ends_the_training(attacker: Attacker) -> None:
    def stop(step: int, *_: object) -> None:
        if step == 3:
            raise InterruptedError

    settings = AttackSettings("level-1", surrogate=SurrogateSettings(cache=attacker.cache))
    game = LocalGame(TrainingRun(HIDDEN, tiny.split(), device=CPU))
    with pytest.raises(InterruptedError):
        BlackBoxRun(game, settings, tell=stop)


@pytest.mark.parametrize("name", ["level-1", "level-2,steps=2"])
def test_a_training_that_was_interrupted_goes_on_to_the_same_bits(attacker: Attacker, name: str) -> None:
    attacker.attacker = name
    whole = attacker.starts().surrogate
    (file,) = attacker.cache.iterdir()
    file.unlink()
    for stops in (1, 5, 6):
        with pytest.raises(InterruptedError):
            attacker.starts(stops=stops)
        assert attacker.told[-1] == stops
    surrogate = attacker.starts().surrogate
    assert attacker.told[0] == 6
    assert tensors_sha256(surrogate.training.state_dict()) == tensors_sha256(whole.training.state_dict())
    assert surrogate.validation_losses == whole.validation_losses
    assert list(surrogate.perturbations) == list(whole.perturbations)
    assert all(map(torch.equal, surrogate.perturbations.values(), whole.perturbations.values()))


def test_an_attacker_that_fails_on_the_surrogate_is_named(attacker: Attacker, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("class Broken:\n    def perturb(self, batch, view):\n        raise KeyError('no idea')\n")
    attacker.attacker = f"{file}:Broken"
    with pytest.raises(SurrogateError, match=r"surrogate.*Broken.*no idea"):
        attacker.starts()


def test_convergence_is_three_windows_that_agree() -> None:
    settled = [0.5] * 7 + [2.0] * 30
    assert converged(settled)
    assert not converged(settled[:-1])
    assert converged([2.0] * 20 + [2.1] * 10)
    assert not converged([2.0] * 20 + [2.2] * 10)
    turning = [abs(epoch - 14.5) / 10 + 1 for epoch in range(30)]
    assert sum(turning[:10]) == pytest.approx(sum(turning[-10:]))
    assert not converged(turning)


def test_training_ends_where_the_loss_has_settled(attacker: Attacker) -> None:
    attacker.attacker = "none"
    attacker.run = HIDDEN.model_copy(update={"learning_rate": 1e-9, "batch_size": 25})  # nothing moves
    attacker.surrogate = SurrogateSettings(epochs=1000)
    assert len(attacker.starts().surrogate.validation_losses) == 30
    assert "converged after 30 epochs" in attacker.said[-1]


def test_an_attacker_who_composes_minibatches_is_refused_before_anything_is_trained(
    attacker: Attacker,
) -> None:
    attacker.attacker = "level-1,drop=0.5"
    with pytest.raises(PluginError, match="sends other examples than came"):
        attacker.starts()
    assert not attacker.told


def test_another_scale_of_the_columns_makes_another_surrogate(tmp_path: Path) -> None:
    def stop(step: int, *_: object) -> None:
        if step:
            raise InterruptedError

    settings = AttackSettings("level-1", surrogate=SurrogateSettings(cache=tmp_path))
    for scale in (None, (1.0,) * 7 + (0.0,)):
        with pytest.raises(InterruptedError):
            find_surrogate(
                HIDDEN, replace(tiny.split(), scale=scale), settings, tell=stop, say=lambda _: None
            )
    assert len([*tmp_path.iterdir()]) == 2
