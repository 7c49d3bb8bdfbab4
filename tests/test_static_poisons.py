"""The availability attacks by name, each against what it provably must do."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases import CLASSES, CONV
from torch import Tensor, nn

from midstream import Batch, Budget, View, cross_entropy, plugins
from midstream.attacks.static.ar import autoregressive, coefficients_of
from midstream.attacks.static.em import error_minimizing
from midstream.attacks.static.lsp import corners
from midstream.attacks.static.ops import merits, shortcuts
from midstream.attacks.static.table import Crafted
from midstream.mathematics.budget import Norm
from midstream.players.course import Ground, learn
from midstream.players.interface import Player

FREE = Budget(0.5, low=-math.inf, high=math.inf)

both_norms = pytest.mark.parametrize("norm", ["l2", "linf"])


def images(count: int = 60) -> tuple[Tensor, Tensor]:
    drawn = torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    return drawn, torch.arange(count) % CLASSES


def linear(features: int, classes: int = 2) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(features, classes)).eval()


def ground(inputs: Tensor, labels: Tensor, budget: Budget, network: nn.Module | None = None) -> Ground:
    return Ground(
        validation_inputs=inputs[:5],
        validation_labels=labels[:5],
        classes=1 + int(labels.max()),
        budget=budget,
        learning_rate=0.01,
        batch_size=20,
        seed=0,
        role="attacker",
        model_source=lambda: network or CONV.network().eval(),
        train_source=lambda: (inputs, labels),
        index_source=lambda: torch.arange(len(inputs)),
    )


def view(budget: Budget, inputs: Tensor, labels: Tensor) -> View:
    return View(
        CONV.network(), 0, cross_entropy, 0.01, inputs, labels, budget, 0, "attacker", gradient_source=dict
    )


def played(text: str, inputs: Tensor, labels: Tensor, budget: Budget) -> tuple[Player, Tensor]:
    """Return an attacker that has learned, and its perturbations."""
    player: Player = plugins.make("attackers", text)
    learn(player, ground(inputs, labels, budget))
    return player, player.perturb(Batch(0, inputs, labels), view(budget, inputs, labels))


@both_norms
@pytest.mark.parametrize("text", ["lsp", "ar"])
def test_a_pattern_has_the_size_of_the_ball_and_belongs_to_its_example(text: str, norm: Norm) -> None:
    (x, y), ball = images(), Budget(0.5, norm)
    player, moves = played(text, x, y, ball)
    assert torch.allclose(ball.size(moves), torch.tensor(0.5), atol=1e-5)
    rows = torch.tensor([7, 3, 22])  # not of all classes
    again = player.perturb(Batch(9, x[rows], y[rows]), view(ball, x, y))
    assert torch.equal(again, moves[rows])  # in each minibatch the same
    assert not torch.equal(moves[0], moves[3])  # of one class


def test_lsp_is_separated_by_a_linear_model_without_the_images() -> None:
    x, y = images(90)
    _, moves = played("lsp", x, y, FREE)
    features = torch.cat([moves.flatten(1), torch.ones(len(y), 1)], dim=1)
    solution = torch.linalg.lstsq(features[:60], F.one_hot(y[:60], CLASSES).float(), driver="gelsd").solution
    assert torch.equal((features[60:] @ solution).argmax(1), y[60:])


def test_lsp_has_one_value_in_each_patch_and_refuses_too_few() -> None:
    x, y = images(6)
    _, moves = played("lsp,patch=4", x, y, FREE)
    patches = moves.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert torch.allclose(patches, patches[..., :1].expand_as(patches))
    with pytest.raises(ValueError, match="has 1 patches on these inputs, too few for 3 classes"):
        corners(torch.tensor([2]), 1, seed=0)
    assert len(torch.unique(corners(torch.arange(10), 4, seed=0), dim=0)) == 10


def test_the_filter_of_its_class_is_zero_on_ar_and_others_are_not() -> None:
    x, y = images()
    _, moves = played("ar", x, y, FREE)
    filters = torch.stack([coefficients_of(label, 0) for label in range(CLASSES)])
    filters[:, -1, -1] = -1.0
    stack = moves.double().flatten(0, 1)[:, None]
    found = F.conv2d(stack, filters[:, None]).abs().amax((2, 3)).unflatten(0, (len(x), 2)).amax(1)  # type: ignore[no-untyped-call]
    own = F.one_hot(y, CLASSES).bool()
    assert found[own].max() < 1e-6
    assert found[~own].min() > 1e-4
    assert torch.equal(found.argmin(1), y)


def test_an_autoregressive_pixel_is_the_sum_over_its_window() -> None:
    random = torch.Generator().manual_seed(3)
    start, beta = torch.randn(2, 1, 4, 4, generator=random), torch.randn(2, 3, 3, generator=random)
    noise = autoregressive(start, beta)
    by_hand = sum(
        beta[1, a, b] * noise[1, 0, 1 + a, b] for a in range(3) for b in range(3) if (a, b) != (2, 2)
    )
    assert torch.allclose(noise[1, 0, 3, 2], torch.as_tensor(by_hand), atol=1e-5)
    assert torch.equal(noise[:, :, :2], start[:, :, :2])


def test_ops_changes_one_pixel_of_each_image_to_its_classs_colour() -> None:
    (x, y), ball = images(), Budget(100.0)
    _, moves = played("ops", x, y, ball)
    changed = moves.abs().sum(1).flatten(1) > 0
    assert (changed.sum(1) == 1).all()
    places = changed.int().argmax(1)
    for label in range(CLASSES):
        assert len(set(places[y == label].tolist())) == 1
        colours = (x + moves).flatten(2)[y == label, :, places[y == label][0]]
        assert torch.allclose(colours, colours[:1].expand_as(colours))
        assert set(colours[0].round(decimals=5).tolist()) <= {0.0, 1.0}
    assert len(set(places.tolist())) == CLASSES


def test_ops_takes_the_best_of_all_pixels_and_colours() -> None:
    x, y = images(30)
    places, colours = shortcuts(x, y, CLASSES, Budget(1.0))
    best, where = 0.0, (0, [0.0, 0.0])
    of_class = x[y == 0]
    for row in range(8):
        for column in range(8):
            for colour in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
                distance = (of_class[:, :, row, column] - torch.tensor(colour)).abs().sum(1)
                merit = float(distance.mean() / (distance.var(correction=0) + 1e-6))
                if merit > best:
                    best, where = merit, (8 * row + column, colour)
    assert (int(places[0]), colours[0].tolist()) == where
    assert merits(of_class, torch.tensor([where[1]])).max().item() == pytest.approx(best, rel=1e-4)


@both_norms
def test_on_a_linear_model_em_is_the_edge_of_the_ball_towards_the_class(norm: Norm) -> None:
    (x, y), ball = images(6), Budget(0.5, norm, -math.inf, math.inf)
    model, labels = linear(128), y % 2
    found = error_minimizing(model, x, labels, budget=ball, steps=5, step_size=0.4, start=torch.zeros_like(x))
    weight = model.get_parameter("1.weight").detach()
    towards = (weight[labels] - weight[1 - labels]).reshape(x.shape)
    assert torch.allclose(found, 0.5 * ball.direction(towards), atol=1e-5)


@pytest.mark.parametrize("text", ["em,rounds=20,train_steps=5", "rem,rounds=20,train_steps=5,attack_steps=2"])
def test_nothing_is_left_to_learn_from_error_minimising_examples(text: str) -> None:
    (x, y), ball = images(), Budget(2.0)
    player, moves = played(text, x, y, ball)
    assert isinstance(player, Crafted)
    assert player._surrogate is not None
    assert (ball.size(moves) <= 2 + 1e-5).all()
    right = [(player._surrogate(at).argmax(1) == y).float().mean() for at in (x + moves, x)]
    assert right[0] >= 0.99
    assert right[1] < 0.5  # the images have no classes that it could have learned
    losses = [cross_entropy(player._surrogate(at), y) for at in (x + moves, x)]
    assert losses[0] < 0.8 * losses[1]


def test_rem_without_a_radius_is_em() -> None:
    x, y = images(20)
    _, em = played("em,rounds=2,train_steps=2,steps=3", x, y, Budget(0.5))
    _, rem = played("rem,rounds=2,train_steps=2,steps=3,radius=0", x, y, Budget(0.5))
    _, other = played("rem,rounds=2,train_steps=2,steps=3,attack_steps=2", x, y, Budget(0.5))
    assert torch.equal(em, rem)
    assert not torch.allclose(em, other)


def test_tap_is_what_a_clean_network_takes_for_another_class() -> None:
    x, y = images()
    x[range(60), 0, 0, y] = 5.0  # classes that a network learns
    player, moves = played("tap,surrogate_epochs=15,steps=20,shift=1", x, y, Budget(20.0, "l2", -10, 10))
    assert isinstance(player, Crafted)
    assert player._surrogate is not None
    assert (player._surrogate(x).argmax(1) == y).float().mean() > 0.9
    assert (player._surrogate(x + moves).argmax(1) == (y + 1) % CLASSES).float().mean() > 0.9


def test_an_unknown_input_is_crafted_in_the_game() -> None:
    x, y = images(30)
    player, moves = played("em,rounds=2,train_steps=2,steps=3", x, y, Budget(0.5))
    new = torch.cat([x[:2], x[:1] * 0.9])
    found = player.perturb(Batch(0, new, y[[0, 1, 0]]), view(Budget(0.5), x, y))
    assert torch.equal(found[:2], moves[:2])
    assert found[2].norm() > 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tap,shift=0", "shift must be at least 1"),
        ("em,rounds=0", "at least 1"),
        ("rem,radius=-1", "radius is a finite share"),
        ("lsp,patch=0", "patch is at least 1 pixel"),
    ],
)
def test_an_option_out_of_range_is_refused(text: str, words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.make("attackers", text)


def test_a_shift_around_all_classes_is_refused() -> None:
    (x, y), player = images(6), plugins.make("attackers", "tap,shift=3")
    with pytest.raises(ValueError, match="leads back to each class itself"):
        learn(player, ground(x, y, Budget(0.5)))


@pytest.mark.parametrize("text", ["em", "ops"])
def test_it_says_that_it_has_not_learned(text: str) -> None:
    (x, y), player = images(6), plugins.make("attackers", text)
    with pytest.raises(RuntimeError, match="before the game"):
        player.perturb(Batch(0, x, y), view(Budget(0.5), x, y))


@pytest.mark.parametrize("text", ["ar", "ops"])
def test_it_refuses_what_is_no_image(text: str) -> None:
    x, y, player = torch.rand(6, 5), torch.arange(6) % 3, plugins.make("attackers", text)

    def play() -> None:
        learn(player, ground(x, y, Budget(0.5)))
        player.perturb(Batch(0, x, y), view(Budget(0.5), x, y))

    with pytest.raises(ValueError, match=f"{text} needs images"):
        play()
