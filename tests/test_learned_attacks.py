"""Attacks by a generator that is learned beforehand: Deep Confuse and ATN."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from cases import CONV, TANH_MLP, Problem
from torch import Tensor, nn
from torch.func import functional_call

from midstream import Batch, Budget, View, cross_entropy, plugins, validation_gradient
from midstream.attacks.generators.deep_confuse import confusion
from midstream.attacks.generators.generator import Generator
from midstream.mathematics.budget import Norm
from midstream.networks.classifiers import digits_cnn
from midstream.players.course import Ground, begin, learn, learners, take_step
from midstream.players.interface import Player
from midstream.run import datasets

BALL = Budget(1.5)
QUICK = {"deep-confuse": "deep-confuse,trials=2,epochs=2", "atn": "atn,surrogate_epochs=2,epochs=2"}

every_attack = pytest.mark.parametrize("text", QUICK.values(), ids=QUICK)
every_norm = pytest.mark.parametrize("norm", ["l2", "linf"])


def ground(p: Problem, budget: Budget = BALL, seed: int = 0) -> Ground:
    """Return what is learned from in a tiny problem, its batch as the training data."""
    return Ground(
        validation_inputs=p.validation_inputs,
        validation_labels=p.validation_labels,
        classes=3,
        budget=budget,
        learning_rate=0.01,
        batch_size=4,
        seed=seed,
        role="attacker",
        model_source=lambda: CONV.network().eval(),
        train_source=lambda: (p.inputs, p.labels),
    )


def view(p: Problem, budget: Budget) -> View:
    def gradient() -> dict[str, Tensor]:
        return dict(validation_gradient(p.model, p.validation_inputs, p.validation_labels))

    return View(
        p.model,
        0,
        cross_entropy,
        0.01,
        p.validation_inputs,
        p.validation_labels,
        budget,
        0,
        "attacker",
        gradient,
    )


def played(player: Player, p: Problem, budget: Budget = BALL) -> Tensor:
    return player.perturb(Batch(0, p.inputs, p.labels), view(p, budget))


def test_the_generator_follows_the_clean_loss_after_a_small_step() -> None:
    p, rate = CONV.build(), 1e-7
    generator = Generator((2, 8, 8), Budget(0.5)).double()
    xi = list(generator.parameters())
    lowered, clean = confusion(p.model, p.inputs, p.labels, generator.moved(p.inputs))

    theta = dict(p.model.named_parameters())
    attacked = cross_entropy(p.model(generator.moved(p.inputs)), p.labels)
    gradient = torch.autograd.grad(attacked, list(theta.values()), create_graph=True)
    after = {name: value - rate * g for (name, value), g in zip(theta.items(), gradient, strict=True)}
    raised = cross_entropy(functional_call(p.model, after, (p.inputs,)), p.labels)

    assert raised.item() == pytest.approx(clean.item(), rel=1e-3)
    for found, exact in zip(torch.autograd.grad(lowered, xi), torch.autograd.grad(raised, xi), strict=True):
        assert torch.allclose(-rate * found, exact, rtol=1e-4, atol=1e-6 * exact.abs().max().item())


@every_norm
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 256, 256), (1, 9, 7)], ids=str)
def test_a_generator_fits_images_of_any_size_into_the_ball(shape: tuple[int, ...], norm: Norm) -> None:
    budget = Budget(0.4, norm)
    generator = Generator(shape, budget)
    for gain in (1.0, 1000.0):
        with torch.no_grad():
            generator.decoder.second.weight.mul_(gain)
            perturbation = generator(torch.rand(2, *shape))
        assert perturbation.shape == (2, *shape)
        assert (budget.size(perturbation) <= 0.4 * (1 + 1e-5)).all()
    assert (budget.size(perturbation) > 0.39).all()


def test_inputs_that_are_no_images_are_refused() -> None:
    p = TANH_MLP.build(torch.float32)
    for text in QUICK.values():
        with pytest.raises(ValueError, match=r"inputs of shape \(5,\) are no images"):
            learn(plugins.make("attackers", text), ground(p))


@every_attack
def test_what_has_not_learned_does_not_play(text: str) -> None:
    name = plugins.parse(text)[0]
    with pytest.raises(RuntimeError, match=f"{name} has not learned yet"):
        played(plugins.make("attackers", text), CONV.build(torch.float32))


def test_deep_confuse_needs_the_training_data_and_atn_does_not() -> None:
    p = CONV.build(torch.float32)

    def nobody() -> tuple[Tensor, Tensor]:
        raise LookupError("not to be had")

    without = replace(ground(p), train_source=nobody)
    learn(plugins.make("attackers", QUICK["atn"]), without)
    with pytest.raises(LookupError, match="not to be had"):
        learn(plugins.make("attackers", QUICK["deep-confuse"]), without)


@every_attack
def test_the_same_seed_learns_the_same_and_another_seed_another(text: str) -> None:
    p = CONV.build(torch.float32)
    moves = []
    for seed in (0, 0, 1):
        player = plugins.make("attackers", text)
        learn(player, ground(p, seed=seed))
        moves.append(played(player, p))
    assert torch.equal(moves[0], moves[1])
    assert torch.equal(moves[0], played(learned_with_interruptions(text, p), p))
    assert not torch.equal(moves[0], moves[2])


def learned_with_interruptions(text: str, p: Problem) -> Player:
    """Return a player whose learning was cut off after each step, and gone on with by another."""
    where = ground(p)
    player: Player = plugins.make("attackers", text)
    course = begin(next(learners(player)), where)
    for number in range(course.steps):
        take_step(course, where, number)
        state = {name: value.clone() for name, value in course.state_dict().items()}
        torch.rand(7)
        player = plugins.make("attackers", text)
        course = begin(next(learners(player)), where)
        course.load_state_dict(state)
    return player


@cache
def digits() -> Ground:
    """Return 500 digits to train on and 300 to validate."""
    data = datasets.load("digits", datasets.Source())
    inputs, labels = data.train.inputs.float(), data.train.labels
    return Ground(
        validation_inputs=inputs[500:800],
        validation_labels=labels[500:800],
        classes=10,
        budget=BALL,
        learning_rate=0.003,
        batch_size=100,
        seed=0,
        role="attacker",
        model_source=lambda: digits_cnn((1, 8, 8), 10).eval(),
        train_source=lambda: (inputs[:500], labels[:500]),
    )


def validation_loss(model: nn.Module, perturbation: Tensor | float = 0.0) -> float:
    """Return a model's loss on Dval as it is, or moved, in nats an example."""
    inputs, labels = digits().validation_inputs, digits().validation_labels
    moved = (inputs + perturbation).clamp(0, 1)
    with torch.no_grad():
        return cross_entropy(model(moved), labels).item() / len(labels)


def trained(player: Player | None) -> nn.Module:
    """Return a new model, trained on what a player makes of the training data."""
    inputs, labels = digits().train()
    torch.manual_seed(1)
    model = digits().model()
    adam = torch.optim.Adam(model.parameters(), lr=0.003)
    for seq in range(150):
        x, y = (part[100 * (seq % 5) : 100 * (seq % 5) + 100] for part in (inputs, labels))
        if player is not None:
            p = Problem(model, x, y, digits().validation_inputs, digits().validation_labels)
            batch = Batch(seq, x, y)
            x = BALL.perturb(x, player.perturb(batch, view(p, BALL)))
        adam.zero_grad()
        cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return model


def learned(text: str) -> Player:
    player: Player = plugins.make("attackers", text)
    learn(player, digits())
    return player


@pytest.mark.slow
@pytest.mark.parametrize("text", ["deep-confuse,trials=2,epochs=10", "atn,surrogate_epochs=20,epochs=30"])
def test_a_model_trained_under_it_is_worse_than_under_noise(text: str) -> None:
    with torch.random.fork_rng(devices=[]):
        noisy, confused = (
            validation_loss(trained(player)) for player in (plugins.make("attackers", "noise"), learned(text))
        )
    assert noisy < 0.5
    assert confused > noisy + 0.5


@pytest.mark.slow  # it trains three networks
def test_atn_disturbs_a_trained_model_it_has_not_seen() -> None:
    with torch.random.fork_rng(devices=[]):
        model = trained(None)
    inputs, labels = digits().validation_inputs, digits().validation_labels
    p = Problem(model, inputs, labels, inputs, labels)
    clean = validation_loss(model)
    noisy, moved = (
        validation_loss(model, played(player, p))
        for player in (plugins.make("attackers", "noise"), learned("atn,surrogate_epochs=20,epochs=30"))
    )
    assert moved > 1 + noisy > 1 + clean


@pytest.mark.parametrize("text", ["deep-confuse,trials=0", "atn,epochs=0", "atn,learning_rate=0"])
def test_options_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(
        plugins.PluginError, match="must be at least 1 and learning_rate above 0 and finite, not"
    ):
        plugins.make("attackers", text)
