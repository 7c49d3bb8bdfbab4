"""EvoShift: a pattern of a few pixels for each class, evolved while the model trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget
from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch, View

CHUNK = 2000
"""Images per forward pass."""

Fitness = Callable[[Tensor], Tensor]
"""Maps patterns, `(population, classes, *input)`, to their fitness, `(population, classes)`."""


def patterns_of(genomes: Tensor, shape: tuple[int, ...], budget: Budget) -> Tensor:
    """Return the patterns that genomes encode, each with the full budget, `(..., *shape)`.

    A pattern is zero except at a few pixels, and is scaled to the ball's edge: `ε e(pattern)`. If two of its
    pixels share a place, the later one counts.

    Args:
        genomes: `(..., pixels, 1 + channels)`: for each pixel its place, in [0, 1) along the image read row
            by row, and the change of each channel.
        shape: shape of one input: `(channels, height, width)`; any other shape counts as one channel.
        budget: the ball.

    >>> genome = torch.tensor([[0.0, 3.0], [0.9, -4.0]])
    >>> patterns_of(genome, (1, 2, 2), Budget(epsilon=1.0)).tolist()
    [[[0.6000000238418579, 0.0], [0.0, -0.800000011920929]]]
    """
    channels = channels_of(shape)
    *leading, count, _ = genomes.shape
    places = torch.Size(shape).numel() // channels
    flat = genomes.new_zeros(*leading, channels, places)
    for pixel in range(count):
        place = (genomes[..., pixel, :1] * places).long().clamp(0, places - 1)
        changes = genomes[..., pixel, 1:, None]
        flat.scatter_(-1, place[..., None, :].expand_as(changes), changes)
    rows = flat.reshape(-1, *shape)
    return (budget.epsilon * budget.direction(rows)).reshape(*leading, *shape)


def channels_of(shape: tuple[int, ...]) -> int:
    """Return the number of channels of an input."""
    return shape[0] if len(shape) == 3 else 1


def differential_evolution(
    genomes: Tensor,
    fitness: Callable[[Tensor], Tensor],
    *,
    weight: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the next generation and its fitness: `DE/rand/1` without crossover.

    Each genome `g_i` competes with one child, `g_a + weight (g_b - g_c)`, of three others drawn at random
    (Storn and Price 1997, in the form of the one-pixel attack, Su et al. 2019). The child replaces `g_i` only
    if it is fitter. So the fitness of every member, and of the best one, never falls.

    Args:
        genomes: `(population, species, *genome)`, at least 4 of each species; each species evolves
            separately. The first element of a genome's last dimension lies in [0, 1) and is reflected into
            that range.
        fitness: maps genomes to their fitness, `(population, species)`.
        weight: weight of the difference.
        generator: draws the parents, on the CPU.

    Returns:
        The new genomes, in the same shape, and their fitness, `(population, species)`.
    """
    population, species = genomes.shape[:2]
    keys = torch.rand(population, population, species, generator=generator)
    keys[torch.arange(population), torch.arange(population)] = 2.0  # excluded: a genome's own place
    a, b, c = keys.argsort(dim=1, stable=True)[:, :3].to(genomes.device).unbind(1)
    column = torch.arange(species, device=genomes.device)
    children = genomes[a, column] + weight * (genomes[b, column] - genomes[c, column])
    children[..., 0] = _reflected(children[..., 0])
    before, after = fitness(genomes), fitness(children)
    better = after > before
    chosen = better.reshape(*better.shape, *[1] * (genomes.dim() - 2))
    return torch.where(chosen, children, genomes), torch.where(better, after, before)


def _reflected(places: Tensor) -> Tensor:
    folded = places.remainder(2.0)
    return torch.minimum(folded, 2.0 - folded).clamp(max=1 - 1e-6)


@dataclass(kw_only=True)
class EvoShift:
    """An evolved pattern of 5 pixels for each class (after EvoShift, section 6.1; not in Table 1: level 0).

    A pattern is fitter the more confidently the live model assigns it to its class. For class c,
    `F_c(P) = -(1/S) Σ_z L_θ(clamp(z + P), c)` over S validation images z of any class. Each example gets the
    fittest pattern of its class, so that the model learns to rely only on the patterns. Each batch is one
    generation of differential evolution at the live parameters, without gradients. If the run enforces the
    pixel range, fitness is measured after the clamp.

    The attack follows the paper's description: one pattern per class, 5 pixels, an evolutionary algorithm
    that runs jointly with the training. The algorithm is that of the one-pixel attack (Su et al. 2019).
    Higher fitness does not mean more harm: on digits, seed 0, `population=20,weight=0.8` ends with fitter
    patterns (-3.7 against -5.1) but a test accuracy of 0.899; the defaults end at 0.798.

    The paper says "jointly with the model training", but not how often the patterns evolve. A pattern that
    changes with each batch is harder to rely on than one that stays.

    Args:
        pixels: maximum number of pixels that a pattern changes.
        population: number of competing patterns per class, at least 4.
        images: S, the number of validation images that measure the fitness.
        weight: weight of the difference that makes a child.
        every: number of batches from one generation to the next; the patterns stay the same in between.
    """

    pixels: int = 5
    population: int = 10
    images: int = 20
    weight: float = 0.5
    every: int = 1
    _genomes: Tensor | None = field(default=None, init=False, repr=False)
    _fittest: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("pixels", 1), ("population", 4), ("images", 1), ("every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be above 0 and finite, not {self.weight}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the fittest pattern of each example's class, with the full budget."""
        if self._fittest is None or batch.seq % self.every == 0:
            self._fittest = self._evolve(batch, view)
        fittest = self._fittest.to(batch.inputs)
        return patterns_of(fittest, tuple(batch.inputs.shape[1:]), view.budget)[batch.labels]

    def _evolve(self, batch: Batch, view: View) -> Tensor:
        """Return the fittest genome of each class in the next generation, `(classes, *genome)`."""
        shape = tuple(batch.inputs.shape[1:])
        judged = Judge(view, self.images)
        random = view.generator(batch.seq)
        if self._genomes is None:
            size = (self.population, judged.classes, self.pixels, 1 + channels_of(shape))
            drawn = torch.rand(size, generator=random)
            drawn[..., 1:] = 2 * drawn[..., 1:] - 1
            self._genomes = drawn
        self._genomes, fitness = differential_evolution(
            self._genomes.to(batch.inputs.device),
            lambda genomes: judged.fitness(patterns_of(genomes.to(batch.inputs), shape, view.budget)),
            weight=self.weight,
            generator=random,
        )
        best, place = fitness.max(dim=0)
        view.report("fitness", best.mean().item())
        return self._genomes[place, torch.arange(judged.classes, device=place.device)]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the population, and its fittest if they are used again; empty before the first batch."""
        if self._genomes is None or self._fittest is None:
            return {}
        return {"genomes": self._genomes} | ({"fittest": self._fittest} if self.every > 1 else {})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a population."""
        self._genomes, self._fittest = state.get("genomes"), state.get("fittest")


class Judge:
    """Measures how confidently the live model assigns images with a pattern to the pattern's class.

    Args:
        view: the model, the validation set and the budget.
        images: number of validation images to put each pattern on.
    """

    def __init__(self, view: View, images: int) -> None:
        self._view = view
        self._images = pixels(view.validation_inputs[:images])
        with torch.no_grad():
            self.classes = view.model(self._images[:1]).shape[1]

    def fitness(self, patterns: Tensor) -> Tensor:
        """Return `-(1/S) Σ_z L_θ(clamp(z + P), c)` of each pattern for the class at its index.

        Args:
            patterns: `(population, classes, *input)`.
        """
        population, classes = patterns.shape[:2]
        rows, size = patterns.flatten(0, 1), len(self._images)
        losses = []
        with torch.no_grad():
            for some in torch.split(rows, max(1, CHUNK // size)):
                images = self._images.repeat(len(some), *[1] * (self._images.dim() - 1))
                shown = self._view.budget.perturb(images, some.repeat_interleave(size, dim=0))
                losses.append(self._view.model(shown).log_softmax(1).view(len(some), size, classes).mean(1))
        columns = torch.arange(classes, device=rows.device).repeat(population)
        return torch.cat(losses).gather(1, columns[:, None]).view(population, classes)
