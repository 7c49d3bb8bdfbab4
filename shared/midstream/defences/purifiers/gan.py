"""Defence by a generative adversarial network: project each image onto the generator's range."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.defences.purifiers.purifier import Purifier, drawn, learned, unit_range
from midstream.mathematics.budget import per_example
from midstream.mathematics.level_k import check_steps
from midstream.networks.autoencoder import LATENTS, Decoder, Encoder
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View

_CANDIDATES = 64
_PENALTY = 10.0
_BETAS = (0.5, 0.9)


class Generator(nn.Module):
    """`G(u)`: maps latents to images.

    Args:
        shape: shape of one image, `(channels, height, width)`.
        latents: dimension of u.
    """

    def __init__(self, shape: tuple[int, ...], latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.decoder = Decoder(shape, latents)

    def forward(self, latents: Tensor) -> Tensor:
        """Return images with pixels between 0 and 1."""
        return self.decoder(latents).sigmoid()  # type: ignore[no-any-return]

    def sample(self, count: int) -> Tensor:
        """Return images for latents drawn from torch's random numbers."""
        return self(torch.randn(count, self.latents).to(self.decoder.linear.weight))  # type: ignore[no-any-return]


def critic_loss(critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    """Return the loss of a Wasserstein critic: `mean D(G(u)) - mean D(z) + 10 mean (‖∇D(m)‖ - 1)²`.

    m is a random point between a real and a generated image, drawn from torch's random numbers (WGAN-GP,
    Gulrajani et al. 2017).

    Args:
        critic: D, with outputs `(batch, 1)`.
        real: z, `(batch, channels, height, width)`.
        made: G(u), of the same shape.

    >>> flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    >>> _ = [parameter.data.zero_() for parameter in flat.parameters()]
    >>> round(critic_loss(flat, torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)).item(), 5)  # its slope is 0
    9.99998
    """
    share = torch.rand(len(real), 1, 1, 1).to(real)
    between = (share * real + (1 - share) * made).requires_grad_()
    slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0]
    # The square root has no derivative at 0: without the constant, a flat critic gives NaNs.
    length = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return critic(made).mean() - critic(real).mean() + _PENALTY * (length - 1).square().mean()  # type: ignore[no-any-return]


def reconstruct(
    generator: Generator, images: Tensor, *, iterations: int, restarts: int, rate: float, candidates: Tensor
) -> Tensor:
    """Return for each image the nearest generated image found.

    Adam lowers `‖G(u) - x‖²` over u, starting at the candidates nearest to the image; the nearest `G(u)` of
    all iterations is returned (Samangouei et al. 2018, eq. 5, who start at random points and descend with
    momentum).

    Args:
        generator: G; it is not changed.
        images: `(batch, channels, height, width)`, with pixels between 0 and 1.
        iterations: L, the number of descent steps; 0 takes the nearest candidate.
        restarts: R, the number of starting points per image.
        rate: Adam's learning rate, in units of the latents.
        candidates: latents to start from, `(candidates, latents)`, at least R.

    Returns:
        Images shaped like `images`.
    """
    with torch.no_grad():
        away = torch.cdist(images.flatten(1), generator(candidates).flatten(1))
    starts = away.topk(restarts, dim=1, largest=False).indices.flatten()
    wanted = images.repeat_interleave(restarts, dim=0)
    latents = candidates[starts].clone().requires_grad_()
    best, nearest = wanted, torch.full((len(wanted),), torch.inf).to(wanted)
    adam = torch.optim.Adam([latents], lr=rate)
    for iteration in range(iterations + 1):
        with torch.enable_grad():
            made = generator(latents)
            squares = (made - wanted).flatten(1).square().sum(dim=1)
        closer = squares.detach() < nearest
        nearest = squares.detach().where(closer, nearest)
        best = made.detach().where(per_example(closer, best), best)
        if iteration < iterations:
            latents.grad = torch.autograd.grad(squares.sum(), latents)[0]
            adam.step()
    chosen = nearest.reshape(len(images), restarts).argmin(dim=1)
    rows = torch.arange(len(images), device=chosen.device)
    return best.reshape(len(images), restarts, *images.shape[1:])[rows, chosen]


@dataclass(kw_only=True)
class DefenseGan(Purifier):
    """Replace each image by a GAN's nearest image (defense-GAN, Samangouei et al. 2018; Table 1: level k).

    The generator has transposed convolutions of 32 and 16 channels and 20 latents (A.1.2). It learns Dval by
    WGAN-GP, as in the original, against a critic with convolutions of 16 and 32 channels. In the game, Adam
    searches the latent space for the `G(u)` nearest to x'. It starts at the nearest of 64 latents that are
    drawn for the batch.

    Args:
        critic_steps: steps of the critic for each step of the generator.
        iterations: L, descent steps in the latent space; the original takes 200.
        restarts: R, the number of starting points per image, at most 64; the original takes 10.
        rate: Adam's learning rate for the descent steps.
    """

    steps: int = 3000
    batch_size: int = 64
    learning_rate: float = 0.001
    critic_steps: int = 3
    iterations: int = 100
    restarts: int = 2
    rate: float = 0.1
    _network: Generator | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(min(self.critic_steps, self.iterations), self.rate)
        if not 1 <= self.restarts <= _CANDIDATES:
            raise ValueError(f"restarts must be from 1 to {_CANDIDATES}, not {self.restarts}")

    def course(self, ground: Ground) -> Course:
        """Return the training of the generator and the critic."""
        images = unit_range(ground.validation_inputs, ground.budget)
        shape = tuple(images.shape[1:])
        generator, critic = Generator(shape, LATENTS).to(images), Encoder(shape, 1).to(images)
        ours, theirs = (
            torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=_BETAS)
            for network in (generator, critic)
        )

        def step(number: int) -> float:  # noqa: ARG001
            for _ in range(self.critic_steps):
                (real,) = drawn(self.batch_size, images)
                loss = critic_loss(critic, real, generator.sample(len(real)).detach())
                theirs.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                theirs.step()
            ours.zero_grad()
            (-critic(generator.sample(self.batch_size)).mean()).backward()
            ours.step()
            return loss.item()

        self._network = generator
        parts: dict[str, nn.Module | Optimizer] = {
            "generator": generator,
            "critic": critic,
            "generator_optimizer": ours,
            "critic_optimizer": theirs,
        }
        # The options of the search in the game do not affect the training.
        settings = repr(replace(self, iterations=1, restarts=1, rate=1.0))
        return Course(settings, parts, self.steps, step)

    def purify(self, images: Tensor, batch: Batch, view: View) -> Tensor:
        """Return the nearest generated image for each image."""
        generator = learned(self._network)
        like = generator.decoder.linear.weight
        drawn_here = torch.randn(_CANDIDATES, generator.latents, generator=view.generator(batch.seq))
        return reconstruct(
            generator,
            images.to(like),
            iterations=self.iterations,
            restarts=self.restarts,
            rate=self.rate,
            candidates=drawn_here.to(like),
        )
