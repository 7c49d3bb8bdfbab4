"""Autoregressive perturbations: noise that follows the recursion of its class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from midstream.attacks.static.shortcuts import drawn_for, to_the_edge
from midstream.mathematics.seeds import generator
from midstream.players.interface import Batch, View

WINDOW = 3
_MARGIN = 4  # rows and columns before the image, whose start values are cropped
_CANDIDATES = 128
_PROBE = 16  # side on which a candidate is judged


def autoregressive(start: Tensor, coefficients: Tensor) -> Tensor:
    """Continue start values by a linear recursion over windows of 3 × 3 pixels, row by row.

    `n[i, j] = Σ_{(a, b) ≠ (2, 2)} β[a, b]·n[i - 2 + a, j - 2 + b]`, an AR(8) process without innovations
    (Sandoval-Segura et al. 2022). The first two rows and columns keep their start values.

    Args:
        start: `(batch, channels, height, width)`.
        coefficients: β, `(batch, 3, 3)`; the last one is not used.

    >>> beta = torch.zeros(1, 3, 3)
    >>> beta[0, 2, 1] = 1.0  # each pixel repeats its left neighbour
    >>> autoregressive(torch.tensor([[[[0.0, 0, 0], [0, 0, 0], [0, 5, 7]]]]), beta)[0, 0, 2].tolist()
    [0.0, 5.0, 5.0]
    """
    noise, beta = start.clone(), coefficients.clone()
    beta[:, -1, -1] = 0
    for row in range(WINDOW - 1, noise.shape[2]):
        for column in range(WINDOW - 1, noise.shape[3]):
            seen = noise[:, :, row - 2 : row + 1, column - 2 : column + 1]
            noise[:, :, row, column] = (seen * beta[:, None]).sum((2, 3))
    return noise


def coefficients_of(label: int, seed: int) -> Tensor:
    """Return the β of a class, `(3, 3)`, float64: of random candidates that sum to 1, the steadiest.

    A candidate is run on normal start values. Its steadiness is the ratio of the smallest to the largest mean
    square of a quarter of the probe's rows: recursions that explode or die out have a small one.
    """
    random = generator(seed, "ar", label)
    beta = torch.randn(_CANDIDATES, WINDOW, WINDOW, generator=random, dtype=torch.float64)
    beta[:, -1, -1] = 0
    beta = beta / beta.sum((1, 2), keepdim=True)
    start = torch.randn(1, 1, _PROBE, _PROBE, generator=random, dtype=torch.float64)
    noise = autoregressive(start.expand(_CANDIDATES, -1, -1, -1), beta)
    energy = noise.square().mean((1, 3)).reshape(_CANDIDATES, 4, -1).mean(2)
    steady = (energy.amin(1) / energy.amax(1)).nan_to_num(0.0)
    return beta[int(steady.argmax())]


@dataclass(kw_only=True)
class Autoregressive:
    """Noise that follows the recursion of its class (AR, Sandoval-Segura et al. 2022; not in Table 1).

    Each class has the coefficients of an autoregressive process over 3 × 3 pixels, each example its own
    start values, which depend on its content and the seed. A convolution with the class's filter is zero
    on the noise, so a small network separates the classes. The noise is scaled to norm ε. The attack uses no
    network and no training data.

    Paper: "Autoregressive Perturbations for Data Poisoning". The authors' code
    (psandovalsegura/autoregressive-poisoning) draws coefficients for each colour channel, and accepts them if
    the noise stays bounded and the filters of other classes respond to it. Here the steadiest of 128 random
    candidates is taken for all channels.
    """

    needs_classes: ClassVar[str] = "it has a pattern for each class"

    _found: tuple[int, dict[int, Tensor]] | None = field(default=None, init=False, repr=False, compare=False)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the noise of each example.

        Raises:
            ValueError: the inputs are not images.
        """
        shape = tuple(batch.inputs.shape[1:])
        if len(shape) != 3:
            raise ValueError(f"ar needs images of channels, height and width, not inputs of shape {shape}")
        channels, height, width = shape
        start = drawn_for(
            batch.content_keys(), (channels, height + _MARGIN, width + _MARGIN), view.seed, "ar"
        )
        noise = autoregressive(start, self._coefficients(batch.labels.tolist(), view.seed))
        return to_the_edge(noise[..., _MARGIN:, _MARGIN:], view.budget).to(batch.inputs)

    def _coefficients(self, labels: Sequence[int], seed: int) -> Tensor:
        if self._found is None or self._found[0] != seed:
            self._found = seed, {}
        known = self._found[1]
        for label in {*labels} - known.keys():
            known[label] = coefficients_of(label, seed)
        return torch.stack([known[label] for label in labels])
