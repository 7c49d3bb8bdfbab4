"""Defence by a denoising diffusion model: cover the perturbation with noise, then remove the noise."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.defences.purifiers.purifier import Purifier, drawn, learned, slow_down, unit_range
from midstream.mathematics.budget import Budget
from midstream.mathematics.level_k import check_steps
from midstream.networks.unet import UNet
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View

DEPTHS = 500
"""The paper's T."""

_FIRST, _LAST = 1e-4, 0.999
_PIXELS = 2**20


@dataclass(frozen=True)
class Schedule:
    """The noise schedule: `x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) n`, `ᾱ_t = Π_{s≤t} (1 - β_s)`, n normal.

    Pixels lie between -1 and 1.

    Attributes:
        kept: `ᾱ_t` for t = 0 … T, float64; the first is 1.
        depth: t*, the smallest t ≥ 1 at which the noise `√((1 - ᾱ_t)/ᾱ_t) n` is as large as the ball.
    """

    kept: Tensor
    depth: int

    @classmethod
    def of(cls, budget: Budget, dimensions: int) -> "Schedule":
        """Return the paper's schedule: T = 500, β linear from 1e-4 to ε²/dim(x) (6.1).

        `ε²/dim(x)` is the mean square change of a pixel under a perturbation with the full budget, for pixels
        between 0 and 1; it is ε² in the L∞ game.

        >>> schedule = Schedule.of(Budget(3.0), 28 * 28)
        >>> 28 * 28 * (1 - schedule.kept[-1] / schedule.kept[-2])
        tensor(9.0000, dtype=torch.float64)
        >>> schedule.depth
        59
        """
        epsilon = budget.epsilon / (budget.high - budget.low)
        square = epsilon**2 / (dimensions if budget.norm == "l2" else 1)
        rates = torch.linspace(_FIRST, min(square, _LAST), DEPTHS, dtype=torch.float64)
        kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - rates).cumprod(0)])
        deep_enough = (1 - kept[1:]) / kept[1:] >= 4 * square  # twice the ball in [-1, 1]
        return cls(kept, int(deep_enough.int().argmax()) + 1 if deep_enough.any() else DEPTHS)


def noise_loss(network: UNet, clean: Tensor, schedule: Schedule, depth: int) -> Tensor:
    """Return `mean ‖n - n_φ(x_t, t)‖²` per pixel, t drawn from 1 … depth, n normal (Ho et al. 2020, eq. 14).

    Args:
        network: n_φ.
        clean: x_0, `(batch, channels, height, width)`, with pixels between -1 and 1.
        schedule: the noise schedule.
        depth: the largest t.
    """
    times = torch.randint(1, depth + 1, (len(clean),))
    kept = schedule.kept[times].to(clean)[:, None, None, None]
    noise = torch.randn_like(clean)
    found = network(kept.sqrt() * clean + (1 - kept).sqrt() * noise, times.to(clean))
    return F.mse_loss(found, noise)


def denoise(
    network: UNet, images: Tensor, schedule: Schedule, *, depth: int, jumps: int, random: torch.Generator
) -> Tensor:
    """Return images diffused to t = depth and denoised back to 0, in jumps of about equal length.

    A jump from t to s draws from `q(x_s | x_t, x_0)`, with `x_0 = (x_t - √(1 - ᾱ_t) n_φ(x_t, t)) / √ᾱ_t`
    clamped to the range. If the number of jumps equals the depth, this is the reverse process of Ho et al.
    2020. A single jump returns `x_0`, the estimated mean of the clean image.

    Args:
        network: n_φ.
        images: `(batch, channels, height, width)`, with pixels between -1 and 1.
        schedule: the noise schedule.
        depth: t*, at most T.
        jumps: number of jumps, from 1 to the depth.
        random: the generator to draw the noise from.
    """

    def normal() -> Tensor:
        return torch.randn(images.shape, generator=random).to(images)

    kept, times = schedule.kept, torch.linspace(depth, 0, jumps + 1).round().int().tolist()
    part = max(1, _PIXELS // images[0, 0].numel())
    reached = kept[depth].sqrt() * images + (1 - kept[depth]).sqrt() * normal()
    for now, then in pairwise(times):
        noise = torch.cat(
            [network(some, torch.full((len(some),), now).to(some)) for some in torch.split(reached, part)]
        )
        clean = ((reached - (1 - kept[now]).sqrt() * noise) / kept[now].sqrt()).clamp(-1, 1)
        step = kept[now] / kept[then]
        reached = (
            kept[then].sqrt() * (1 - step) / (1 - kept[now]) * clean
            + step.sqrt() * (1 - kept[then]) / (1 - kept[now]) * reached
        )
        if then > 0:
            reached = reached + ((1 - kept[then]) / (1 - kept[now]) * (1 - step)).sqrt() * normal()
    return reached


@dataclass(kw_only=True)
class Ddpm(Purifier):
    """Diffuse each image and denoise it (DDPM, Ho et al. 2020, as FixAug's part; not in Table 1).

    T = 500, with β linear from 1e-4 to ε²/dim(x). A U-net of wide residual blocks with group norm learns to
    predict the noise in images of Dval. In the game, x' is diffused to t*, at which the noise is as large as
    the ball, and denoised, as in DiffPure (Nie et al. 2022). The paper does not state its depth. The network
    learns only depths up to t*, because the game uses no others. On a GPU, `width=40` gives a tenth of the
    usual number of parameters, and `jumps=1000` takes every step of the way back.

    Args:
        width: channels of the U-net's first level, even.
        depth: t*; by default the smallest depth at which the noise is as large as the ball.
        jumps: number of jumps on the way back; more than t* counts as t*.
    """

    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 0.002
    width: int = 16
    depth: int | None = None
    jumps: int = 1
    _network: UNet | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(self.jumps, called="jumps")
        if self.width < 2 or self.width % 2:
            raise ValueError(f"width must be even and at least 2, not {self.width}")
        if self.depth is not None and not 1 <= self.depth <= DEPTHS:
            raise ValueError(f"depth must be from 1 to {DEPTHS}, not {self.depth}")

    def course(self, ground: Ground) -> Course:
        """Return the U-net's training."""
        images = 2 * unit_range(ground.validation_inputs, ground.budget) - 1
        schedule = Schedule.of(ground.budget, images[0].numel())
        network = UNet(tuple(images.shape[1:]), self.width).to(images)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)

        def step(number: int) -> float:
            slow_down(optimizer, self.learning_rate, number, self.steps)
            (clean,) = drawn(self.batch_size, images)
            loss = noise_loss(network, clean, schedule, self.depth or schedule.depth)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.item()

        self._network = network
        # The number of jumps does not affect the training.
        parts: dict[str, nn.Module | Optimizer] = {"network": network, "optimizer": optimizer}
        return Course(repr(replace(self, jumps=1)), parts, self.steps, step)

    def purify(self, images: Tensor, batch: Batch, view: View) -> Tensor:
        """Return the images after diffusion and denoising."""
        network = learned(self._network)
        schedule = Schedule.of(view.budget, images[0].numel())
        depth = self.depth or schedule.depth
        with torch.no_grad():
            found = denoise(
                network,
                2 * images.to(network.enter.weight) - 1,
                schedule,
                depth=depth,
                jumps=min(self.jumps, depth),
                random=view.generator(batch.seq),
            )
        return (found + 1) / 2
