"""Perturbed embeddings as tokens: the attack that sends only tokens, and the defence that restores them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from midstream import Batch, Budget, View, cross_entropy, plugins, validation_gradient
from midstream.networks.text_cnn import text_cnn
from midstream.plugins import PluginError
from midstream.run.datasets import Source
from midstream.run.datasets.phrases import WORDS, embeddings, phrases
from midstream.run.models import build_model
from midstream.tasks.tokens import as_tokens, nearest, vocabulary

WIDE = Budget(1.5, "l2", -float("inf"), float("inf"))


@pytest.fixture(scope="module")
def view() -> View:
    train = phrases(Source()).train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = text_cnn((8, 16), 2).eval()
    x, y = train.inputs[100:300], train.labels[100:300]
    return View(
        model=model,
        parameters_version=0,
        loss=cross_entropy,
        learning_rate=0.01,
        validation_inputs=x,
        validation_labels=y,
        budget=WIDE,
        seed=0,
        role="attacker",
        gradient_source=lambda: validation_gradient(model, x, y),
    )


def batch() -> Batch:
    train = phrases(Source()).train
    return Batch(0, train.inputs[:20], train.labels[:20])


def distances(rows: Tensor) -> Tensor:
    """Return the distance of each row to each word's embedding."""
    found: Tensor = (rows[:, None] - embeddings()).norm(dim=2)
    return found


def are_words(inputs: Tensor) -> Tensor:
    return distances(inputs.flatten(0, 1)).amin(1) < 1e-5


def test_the_vocabulary_of_the_validation_set_is_that_of_the_data(view: View) -> None:
    table = vocabulary(view.validation_inputs)
    assert len(table) == len(WORDS)
    assert (distances(table).amin(1) == 0).all()


def test_an_attack_by_tokens_sends_words_and_stays_in_its_ball(view: View) -> None:
    sent = batch()
    free = plugins.make("attackers", "level-1,beta=0").perturb(sent, view)
    assert not are_words(sent.inputs + free).all()
    moves = plugins.make("attackers", "level-1,beta=0,tokens=nearest").perturb(sent, view)
    assert are_words(sent.inputs + moves).all()
    assert (view.budget.size(moves) <= view.budget.epsilon * (1 + 1e-5)).all()
    changed = moves.norm(dim=2) > 0
    assert int(changed.any(dim=1).sum()) > 0
    wanted = nearest(sent.inputs + free, embeddings())
    assert torch.allclose((sent.inputs + moves)[changed], wanted[changed], atol=1e-6)


def test_a_position_that_would_leave_the_ball_keeps_its_token() -> None:
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    inputs = torch.zeros(1, 3, 2)
    pull = torch.tensor([[[0.6, 0.0], [0.0, 1.5], [0.9, 0.0]]])  # to tokens at distances 1, 2 and 1

    def places(epsilon: float) -> list[bool]:
        moved = as_tokens(inputs, pull, table, replace(WIDE, epsilon=epsilon))
        found: list[bool] = moved.any(dim=2)[0].tolist()
        return found

    assert places(0.5) == [False, False, False]
    assert places(1.0) == [False, False, True]  # the second is too far, the first no longer fits
    assert places(2.0) == [False, True, False]
    assert places(3.0) == [True, True, True]


def test_the_defence_restores_the_words_of_a_free_attack(view: View) -> None:
    sent = batch()
    small = replace(view, budget=replace(WIDE, epsilon=0.3))
    free = plugins.make("attackers", "level-1,beta=0").perturb(sent, small)
    received = replace(sent, inputs=sent.inputs + free)
    back = plugins.make("defenders", "nearest-token").perturb(received, small)
    assert torch.allclose(received.inputs + small.budget.project(back), sent.inputs, atol=1e-5)


def test_images_have_no_tokens(view: View) -> None:
    images = replace(view, validation_inputs=torch.rand(4, 1, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(4, 1, 8, 8\) are no sequences of embeddings"):
        plugins.make("defenders", "nearest-token").perturb(
            Batch(0, torch.rand(2, 1, 8, 8), torch.zeros(2)), images
        )


def test_the_network_refuses_what_is_no_sequence() -> None:
    with pytest.raises(
        PluginError, match=r"takes sequences of embeddings, \(tokens, dimensions\), not \(5,\)"
    ):
        build_model("text-cnn", (5,), 2)
    model = build_model("text-cnn,channels=4", (8, 16), 3)
    assert isinstance(model, nn.Module)
    assert model(torch.zeros(2, 8, 16)).shape == (2, 3)
