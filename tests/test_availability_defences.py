"""Defences against availability attacks, each against what it provably must do."""

from copy import deepcopy
from dataclasses import replace

import torch
import torch.nn.functional as F
from cases import CLASSES, CONV
from torch import Tensor, nn

from midstream import Batch, Budget, View, cross_entropy, plugins
from midstream.defences.orthogonal_projection import projected_out, span
from midstream.defences.transforms.iss import greyscale
from midstream.defences.transforms.jpeg import jpeg
from midstream.defences.transforms.ueraser import augmented, losses, plasma
from midstream.mathematics.ascent import pgd
from midstream.players.course import Ground, learn
from midstream.players.interface import Augmenting, Player

BALL = Budget(0.5)


def images(count: int = 6, channels: int = 3) -> tuple[Tensor, Tensor]:
    drawn = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    return drawn, torch.arange(count) % CLASSES


def network(channels: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, CLASSES)).eval()


def view(model: nn.Module, budget: Budget = BALL) -> View:
    x, y = images()
    return View(model, 0, cross_entropy, 0.1, x, y, budget, 0, "defender", dict, classes=CLASSES)


def augment(text: str, batch: Batch, seen: View) -> Batch:
    """Return the batch that replaces another; the player has no perturbation of its own."""
    player: Player = plugins.make("defenders", text)
    assert isinstance(player, Augmenting)
    assert not player.perturb(batch, seen).any()
    found = player.augment(batch, seen)
    assert ((found.inputs >= 0) & (found.inputs <= 1)).all()
    assert torch.equal(found.labels, batch.labels)
    return found


def test_iss_is_grey_and_then_jpeg() -> None:
    x, y = images()
    batch, seen = Batch(0, x, y), view(network())
    grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    found = augment("iss,squeeze=grey", batch, seen).inputs
    assert torch.allclose(found, grey[:, None].expand_as(x), atol=1e-6)
    assert torch.equal(augment("iss,squeeze=jpeg,quality=30", batch, seen).inputs, jpeg(x, 30))
    assert torch.equal(augment("iss", batch, seen).inputs, jpeg(greyscale(x), 10))
    one = images(channels=1)[0]
    assert torch.equal(greyscale(one), one)


def test_grey_removes_a_perturbation_that_keeps_the_luminance() -> None:
    x, _ = images()
    hidden = torch.tensor([0.587, -0.299, 0.0])[:, None, None] * 0.3  # luma 0
    assert torch.allclose(greyscale(x + hidden), greyscale(x), atol=1e-6)


def test_adversarial_training_steps_on_the_worst_neighbours() -> None:
    (x, y), model = images(), network()
    batch, seen = Batch(0, x, y), view(model)
    found = augment("adversarial-training,random_start=false,steps=3,radius=0.5", batch, seen).inputs
    half = replace(BALL, epsilon=0.25)
    assert torch.allclose(found - x, pgd(model, x, y, budget=half, steps=3, step_size=2.5 / 3), atol=1e-6)
    started = augment("adversarial-training", batch, seen).inputs
    assert (BALL.size(started - x) <= 0.5 + 1e-5).all()
    assert cross_entropy(model(started), y) > cross_entropy(model(x), y)
    assert torch.equal(augment("adversarial-training,radius=0", batch, seen).inputs, x)


def test_ueraser_takes_the_worst_of_its_versions() -> None:
    (x, y), model = images(20), network()
    seen = view(model)
    worst = augment("ueraser,repeats=4", Batch(3, x, y), seen).inputs
    random = seen.generator(3)
    versions = torch.stack([augmented(x, random) for _ in range(4)])
    each = torch.stack([F.cross_entropy(model(one), y, reduction="none") for one in versions])
    assert torch.allclose(F.cross_entropy(model(worst), y, reduction="none"), each.amax(0), atol=1e-5)
    assert torch.allclose(
        losses(model, x, y, cross_entropy),
        torch.stack([cross_entropy(model(x[i : i + 1]), y[i : i + 1]).detach() for i in range(20)]),
    )
    lite = augment("ueraser,repeats=1", Batch(3, x, y), seen).inputs
    assert torch.equal(lite, versions[0])


def test_plasma_is_a_cloud_from_black_to_white() -> None:
    random = torch.Generator().manual_seed(0)
    rough, smooth = (plasma((32, 32), 4, roughness, random) for roughness in (0.7, 0.1))
    for cloud in (rough, smooth):
        assert torch.allclose(cloud.amin((2, 3)), torch.zeros(4, 1))
        assert torch.allclose(cloud.amax((2, 3)), torch.ones(4, 1))
    assert (rough.diff(dim=3).abs().mean() > 1.5 * smooth.diff(dim=3).abs().mean()).item()


def test_a_projection_leaves_nothing_along_the_weights() -> None:
    x, _ = images()
    weights = torch.randn(3, 192, generator=torch.Generator().manual_seed(1))
    weights[2] = weights[0] + weights[1]  # two directions
    basis = span(weights)
    assert basis.shape == (2, 192)
    kept = projected_out(x, basis)
    assert (kept.flatten(1) @ weights.T).abs().max() < 1e-3
    assert torch.allclose(projected_out(kept, basis), kept, atol=1e-5)


def test_orthogonal_projection_removes_a_shortcut_of_each_class() -> None:
    budget = Budget(0.5, low=-100.0, high=100.0)
    patterns = torch.linalg.qr(torch.randn(192, CLASSES, generator=torch.Generator().manual_seed(1)))[0].T
    player = plugins.make("defenders", "orthogonal-projection,steps=50,learning_rate=0.5")
    seen = view(network(), budget)
    for seq in range(20):
        random = torch.Generator().manual_seed(seq)
        y = torch.randint(CLASSES, (60,), generator=random)
        x = 0.1 * torch.randn(60, 192, generator=random) + 5 * patterns[y]
        kept = player.augment(Batch(seq, x, y), seen).inputs
    apart = (5 * patterns[0] - 5 * patterns[1]).norm()
    left = (kept[y == 0].mean(0) - kept[y == 1].mean(0)).norm()
    assert left < 0.15 * apart


def test_the_linear_model_survives_a_restart() -> None:
    (x, y), seen = images(), view(network())
    player, other = (plugins.make("defenders", "orthogonal-projection") for _ in range(2))
    player.augment(Batch(0, x, y), seen)
    other.load_state_dict(player.state_dict())
    after = [one.augment(Batch(1, x.flip(0), y), seen).inputs for one in (player, other)]
    assert torch.equal(*after)
    new = plugins.make("defenders", "orthogonal-projection")
    assert not torch.equal(new.augment(Batch(1, x.flip(0), y), seen).inputs, after[0])


def test_avatar_trains_on_what_ddpm_would_have_moved_towards() -> None:
    p, budget = CONV.build(torch.float32), Budget(100.0)
    ground = Ground(
        p.validation_inputs,
        p.validation_labels,
        classes=CLASSES,
        budget=BALL,
        learning_rate=0.1,
        batch_size=5,
        seed=0,
        role="defender",
        model_source=lambda: deepcopy(p.model),
    )
    avatar, ddpm = (
        plugins.make("defenders", f"{name},steps=3,width=4,jumps=2") for name in ("avatar", "ddpm")
    )
    for player in (avatar, ddpm):
        learn(player, ground)
    batch, small, large = Batch(0, p.inputs, p.labels), view(p.model), view(p.model, budget)
    assert not avatar.perturb(batch, small).any()
    found = avatar.augment(batch, small).inputs
    assert ((found >= 0) & (found <= 1)).all()
    assert (BALL.size(found - p.inputs) > 0.5).any()  # no budget limits it
    ddpm.depth = avatar.depth = 100  # whatever the ball
    wanted = p.inputs + ddpm.perturb(batch, replace(large, budget=BALL))
    assert torch.allclose(avatar.augment(batch, small).inputs, wanted.clamp(0, 1), atol=1e-5)
