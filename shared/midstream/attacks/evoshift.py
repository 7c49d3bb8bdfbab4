"""EvoShift: a pattern of a few pixels for each class, found by evolution while the model trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget
from midstream.mathematics.pixels import pixels
from midstream.players.interface import Batch, View

CHUNK = 2000
"""Images that the model is asked about at once."""

Fitness = Callable[[Tensor], Tensor]
"""From patterns, `(population, classes, *input)`, to how fit each is, `(population, classes)`."""


def patterns_of(genomes: Tensor, shape: tuple[int, ...], budget: Budget) -> Tensor:
    """Return the patterns that genomes stand for, each at the whole budget, `(..., *shape)`.

    A pattern is zero but for a few pixels, and goes to the ball's edge: `ε e(pattern)`. Where two of its
    pixels are at one place, the later stands.

    Args:
        genomes: `(..., pixels, 1 + channels)`: for each pixel its place, from 0 to below 1 along the image
            read row by row, and how much each channel changes.
        shape: of an input: `(channels, height, width)`, or any other, which is read as one channel.
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
    """Return how many channels a pixel of an input has."""
    return shape[0] if len(shape) == 3 else 1


def differential_evolution(
    genomes: Tensor,
    fitness: Callable[[Tensor], Tensor],
    *,
    weight: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the next generation, and how fit it is: `DE/rand/1` without crossover.

    Each genome `g_i` is challenged by one child, `g_a + weight (g_b - g_c)` of three others drawn at random
    (Storn and Price 1997, as the one-pixel attack has it, Su et al. 2019), which takes its place only if it
    is fitter. So no place is ever less fit after a generation than before it, and neither is the best.

    Args:
        genomes: `(population, species, *genome)`, at least 4 of each species; each species evolves by itself.
            What is first in a genome's last dimension lies from 0 to below 1, and is reflected back there.
        fitness: from genomes to how fit each is, `(population, species)`.
        weight: of the difference.
        generator: draws the parents, on the CPU.

    Returns:
        The genomes, shaped like those before, and their fitness, `(population, species)`.
    """
    population, species = genomes.shape[:2]
    keys = torch.rand(population, population, species, generator=generator)
    keys[torch.arange(population), torch.arange(population)] = 2.0  # nobody is its own child's parent
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

    A pattern is as fit as the live model takes it for its class: for class c,
    `F_c(P) = -(1/S) Σ_z L_θ(clamp(z + P), c)` over S validation images z, of whatever class. The fittest one
    of its class is added to each example, so that the model learns to go by the patterns alone. Each batch is
    one generation of differential evolution at the live parameters, without gradients. Where the run enforces
    the pixel range, patterns are judged as they are after the clamp.

    This is built after the paper's description (one pattern a class, 5 pixels, an evolutionary algorithm,
    jointly with the training); the algorithm is the one-pixel attack's (Su et al. 2019). Fitness is not harm:
    on digits, seed 0, `population=20,weight=0.8` ends at fitter patterns (-3.7 against -5.1) and at a test
    accuracy of 0.899, where the defaults leave 0.798.

    Args:
        pixels: that a pattern changes at most.
        population: patterns of each class that compete, at least 4.
        images: S, validation images that each is judged on.
        weight: of the difference that makes a child.
    """

    pixels: int = 5
    population: int = 10
    images: int = 20
    weight: float = 0.5
    _genomes: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("pixels", 1), ("population", 4), ("images", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be above 0 and finite, not {self.weight}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return each example's pattern, the fittest of its class, at the whole budget."""
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
        fittest = self._genomes[place, torch.arange(judged.classes, device=place.device)]
        return patterns_of(fittest.to(batch.inputs), shape, view.budget)[batch.labels]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the population; nothing before the first batch."""
        return {} if self._genomes is None else {"genomes": self._genomes}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a population."""
        self._genomes = state.get("genomes")


class Judge:
    """How far the live model takes an image for a class because of the pattern on it.

    Args:
        view: the model, the validation set and the budget.
        images: validation images that each pattern is put on.
    """

    def __init__(self, view: View, images: int) -> None:
        self._view = view
        self._images = pixels(view.validation_inputs[:images])
        with torch.no_grad():
            self.classes = view.model(self._images[:1]).shape[1]

    def fitness(self, patterns: Tensor) -> Tensor:
        """Return `-(1/S) Σ_z L_θ(clamp(z + P), c)` of each pattern for the class it stands at.

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
