"""Generative defences: they clean images that they never saw, and their mathematics has closed forms."""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from midstream import Batch, Budget, View, cross_entropy, plugins
from midstream.defences.purifiers.ddpm import Schedule, denoise
from midstream.defences.purifiers.gan import DefenseGan, Generator, reconstruct
from midstream.defences.purifiers.vae import DefenseCvae, VariationalAutoencoder, evidence_loss
from midstream.networks.unet import UNet
from midstream.players.course import Ground, begin, learn, learners, take_step
from midstream.players.interface import Player
from midstream.players.referee import move
from midstream.run.datasets.published import _digits

QUICK = {
    "vae": "vae,steps=800,batch_size=64,learning_rate=0.005",
    "cvae": "cvae,steps=800,batch_size=64,learning_rate=0.005",
    "gan": "gan,steps=300,learning_rate=0.002,critic_steps=2,restarts=4",
    "ddpm": "ddpm,steps=220,batch_size=48,learning_rate=0.005,depth=40",
}
"""Learned for seconds, and well enough to tell."""

STEPS = {name: f"{name},steps=4,batch_size=5" for name in QUICK}
STEPS["gan"] += ",iterations=10,restarts=3"
every_purifier = pytest.mark.parametrize("name", QUICK)


def digits(first: int, *, every: int) -> tuple[Tensor, Tensor]:
    """Return some of the first 1,000, which come writer by writer."""
    rows = _digits()[first:1000:every]
    images = rows[:, :-1].reshape(-1, 1, 8, 8)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(rows[:, -1], dtype=torch.int64)


def no_model() -> nn.Module:
    raise AssertionError("a purifier learns without the model")


def ground(inputs: Tensor, labels: Tensor, budget: Budget, *, seed: int = 0) -> Ground:
    return Ground(
        validation_inputs=inputs,
        validation_labels=labels,
        classes=10,
        budget=budget,
        learning_rate=0.1,
        batch_size=20,
        seed=seed,
        role="defender",
        model_source=no_model,
    )


DIGITS = ground(*digits(0, every=2), Budget(1.5))
HELD_OUT = digits(1, every=8)


def view(of: Ground) -> View:
    return View(
        model=nn.Identity(),
        parameters_version=0,
        loss=cross_entropy,
        learning_rate=0.1,
        validation_inputs=of.validation_inputs,
        validation_labels=of.validation_labels,
        budget=of.budget,
        seed=of.seed,
        role="defender",
        gradient_source=dict,
    )


def perturbation(player: Player, inputs: Tensor, of: Ground, *, seq: int = 0) -> Tensor:
    return player.perturb(Batch(seq, inputs, torch.arange(len(inputs)) % of.classes), view(of))


def made(text: str) -> Player:
    player: Player = plugins.make("defenders", text)
    return player


def taught(text: str, of: Ground) -> Player:
    player = made(text)
    learn(player, of)
    return player


@cache
def on_digits(name: str) -> Player:
    return taught(QUICK[name], DIGITS)


def distance(one: Tensor, other: Tensor) -> Tensor:
    away: Tensor = torch.linalg.vector_norm((one - other).flatten(1), dim=1)
    return away


@pytest.mark.slow
@every_purifier
def test_it_moves_a_noisy_image_nearer_to_its_original(name: str) -> None:
    (clean, labels), budget = HELD_OUT, DIGITS.budget
    normal = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = budget.perturb(clean, budget.epsilon * budget.direction(normal))
    purified = move(name, on_digits(name), Batch(0, noisy, labels), view(DIGITS))
    assert distance(purified, clean).mean() < 0.97 * distance(noisy, clean).mean()


@every_purifier
def test_the_same_seed_learns_the_same_bits_and_another_seed_others(name: str) -> None:
    x, other = HELD_OUT[0][:7], replace(DIGITS, seed=1)
    first, again, third = (perturbation(taught(STEPS[name], of), x, of) for of in (DIGITS, DIGITS, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, third)


@pytest.mark.slow
@every_purifier
@pytest.mark.parametrize("interrupted", [0, 1, 3])
def test_a_course_gone_on_with_ends_in_the_same_bits(name: str, interrupted: int) -> None:
    begun, gone_on, whole = (made(STEPS[name]) for _ in range(3))
    (learner,) = learners(begun)
    course = begin(learner, DIGITS)
    for number in range(interrupted):
        take_step(course, DIGITS, number)
    kept = {key: value.clone() for key, value in course.state_dict().items()}

    (learner,) = learners(gone_on)
    course = begin(learner, DIGITS)
    course.load_state_dict(kept)
    for number in range(interrupted, course.steps):
        take_step(course, DIGITS, number)
    learn(whole, DIGITS)
    x = HELD_OUT[0][:7]
    assert torch.equal(perturbation(gone_on, x, DIGITS), perturbation(whole, x, DIGITS))


@every_purifier
def test_a_move_depends_on_seed_and_number_of_the_batch_alone(name: str) -> None:
    player, x = taught(STEPS[name], DIGITS), HELD_OUT[0][:7]
    state = torch.get_rng_state()
    first, again, later = (perturbation(player, x, DIGITS, seq=seq) for seq in (3, 3, 4))
    assert torch.equal(first, again)
    assert torch.equal(first, later) == (name in ("vae", "cvae"))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@every_purifier
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 7), (1, 28, 28), (3, 32, 32), (3, 256, 256)])
def test_it_takes_images_of_any_size(name: str, shape: tuple[int, ...]) -> None:
    options = {"gan": ",iterations=2,critic_steps=1", "ddpm": ",width=2"}.get(name, "")
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    of = ground(x, torch.arange(3), Budget(2.0))
    found = perturbation(taught(f"{name},steps=1,batch_size=2{options}", of), x, of)
    assert found.shape == x.shape
    assert found.isfinite().all()
    assert ((x + found >= -1e-5) & (x + found <= 1 + 1e-5)).all()


@every_purifier
def test_another_pixel_range_is_the_same_game(name: str) -> None:
    x, budget = HELD_OUT[0][:7], DIGITS.budget
    wider = ground(
        2 * DIGITS.validation_inputs - 1, DIGITS.validation_labels, Budget(2 * budget.epsilon, low=-1.0)
    )
    one = perturbation(taught(STEPS[name], DIGITS), x, DIGITS)
    other = perturbation(taught(STEPS[name], wider), 2 * x - 1, wider)
    assert torch.allclose(other, 2 * one, atol=2e-3)


@every_purifier
def test_what_it_cannot_do_it_says(name: str) -> None:
    x, labels = torch.rand(6, 5), torch.arange(6)
    with pytest.raises(ValueError, match=r"needs images, .* not inputs of shape \(6, 5\)"):
        learn(made(name), ground(x, labels, Budget(1.0)))
    with pytest.raises(RuntimeError, match="learns before the game, and has not"):
        perturbation(made(name), HELD_OUT[0], DIGITS)
    with pytest.raises(plugins.PluginError, match="steps must be at least 1, not 0"):
        made(f"{name},steps=0")


@pytest.mark.slow
def test_the_conditional_one_uses_the_label() -> None:
    player, (x, labels) = on_digits("cvae"), HELD_OUT
    assert isinstance(player, DefenseCvae)
    right, wrong = (
        distance(x + player.perturb(Batch(0, x, given), view(DIGITS)), x).mean()
        for given in (labels, (labels + 1) % 10)
    )
    assert right < wrong


def test_the_evidence_loss_is_that_of_the_distributions() -> None:
    torch.manual_seed(0)
    network = VariationalAutoencoder((1, 8, 8), 20, classes=10).double()
    perturbed, clean = torch.rand(2, 3, 1, 8, 8).double()
    labels = torch.tensor([0, 1, 2])
    mean, log_variance = network.encode(perturbed, labels)
    of_latents = Normal(mean, (log_variance / 2).exp())
    torch.manual_seed(1)
    found = evidence_loss(network, perturbed, clean, labels)
    torch.manual_seed(1)
    latents = mean + of_latents.stddev * torch.randn_like(mean)
    made_of_them = network.decode(latents, labels)
    likelihood = -min(
        F.gaussian_nll_loss(made_of_them, clean, torch.full_like(clean, variance), full=True, reduction="sum")
        for variance in torch.linspace(0.04, 0.16, 2001).tolist()
    )
    divergence = kl_divergence(of_latents, Normal(torch.zeros_like(mean), 1.0)).sum()
    assert torch.allclose(found, (divergence - likelihood) / 3)


@pytest.mark.slow
def test_the_search_finds_what_the_generator_made() -> None:
    player, random = on_digits("gan"), torch.Generator().manual_seed(0)
    assert isinstance(player, DefenseGan)
    generator = player._network
    assert isinstance(generator, Generator)
    latents, candidates = torch.randn(30, 20, generator=random), torch.randn(64, 20, generator=random)
    made_by_it = generator(latents).detach()
    away = [
        distance(
            reconstruct(
                generator, made_by_it, iterations=iterations, restarts=4, rate=0.1, candidates=candidates
            ),
            made_by_it,
        )
        for iterations in (0, 20, 200)
    ]
    assert (away[1] <= away[0]).all()  # the nearest seen is kept
    assert (away[2] <= away[1]).all()
    assert away[2].mean() < 0.2 * away[0].mean()


@pytest.mark.slow
def test_the_generator_makes_every_digit() -> None:
    player = on_digits("gan")
    assert isinstance(player, DefenseGan)
    generator = player._network
    assert isinstance(generator, Generator)
    torch.manual_seed(0)
    images = generator.sample(500).detach().flatten(1)
    nearest = torch.cdist(images, DIGITS.validation_inputs.flatten(1)).argmin(dim=1)
    shares = torch.bincount(DIGITS.validation_labels[nearest], minlength=10) / len(images)
    assert shares.min() > 0.01
    assert shares.max() < 0.4


class Knowing(UNet):
    """The best network for images drawn from a normal distribution of mean 0 and a given deviation."""

    def __init__(self, schedule: Schedule, mean: Tensor, deviation: float) -> None:
        super().__init__((1, 4, 4), 2)
        self.schedule, self.mean, self.deviation = schedule, mean, deviation

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        kept = self.schedule.kept[int(times[0])]
        off = images - kept.sqrt() * self.mean
        return (1 - kept).sqrt() * off / (kept * self.deviation**2 + 1 - kept)


@pytest.mark.parametrize("jumps", [1, 3, 200])
def test_denoised_by_the_best_network_a_known_image_comes_back(jumps: int) -> None:
    schedule = Schedule.of(Budget(2.0), 16)
    image, random = (
        torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9,
        torch.Generator(),
    )
    found = denoise(
        Knowing(schedule, image, 0.0),
        torch.rand(5, 1, 4, 4, generator=random).double(),
        schedule,
        depth=200,
        jumps=jumps,
        random=random,
    )
    assert torch.allclose(found, image.expand_as(found).double(), atol=1e-6)


def test_denoised_by_the_best_network_images_keep_their_distribution() -> None:
    deviation, schedule, random = 0.2, Schedule.of(Budget(0.5), 16), torch.Generator().manual_seed(0)
    images = deviation * torch.randn(4000, 1, 4, 4, generator=random).double()
    network = Knowing(schedule, torch.zeros(1, 4, 4), deviation)
    kept = schedule.kept[60]
    whole, at_once = (
        denoise(network, images, schedule, depth=60, jumps=jumps, random=random) for jumps in (60, 1)
    )
    assert whole.std().item() == pytest.approx(
        deviation, rel=0.03
    )  # the posterior variance is a little small
    shrunk = kept * deviation**2 / (kept * deviation**2 + 1 - kept)  # the mean of what each may have been
    assert at_once.std().item() == pytest.approx(deviation * shrunk.sqrt().item(), rel=0.01)


def test_the_schedule_is_the_papers() -> None:
    schedule = Schedule.of(Budget(3.0), 28 * 28)
    rates = torch.linspace(1e-4, 9 / 784, 500, dtype=torch.float64)
    assert schedule.kept[500].item() == pytest.approx((1 - rates).prod().item())
    before, at = (
        28 * 28 * (1 - kept) / kept for kept in schedule.kept[schedule.depth - 1 : schedule.depth + 1]
    )
    assert before < (2 * 3.0) ** 2 <= at
    assert Schedule.of(Budget(0.1, "linf"), 28 * 28).kept[-1] == pytest.approx(
        torch.linspace(1e-4, 0.01, 500, dtype=torch.float64).neg().log1p().sum().exp().item()
    )
