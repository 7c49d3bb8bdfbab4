"""Defence by a variational auto-encoder, with and without the labels."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream.defences.purifier import Purifier, drawn, learned, randomly_perturbed, slow_down, unit_range
from midstream.networks.autoencoder import LATENTS, Decoder, Encoder
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View


class VariationalAutoencoder(nn.Module):
    """`q(u|x)`, a normal distribution of latents u for an image, and `p(x|u)`, an image for latents.

    Args:
        shape: of one image, `(channels, height, width)`.
        latents: dimensions of u.
        classes: how many there are, where both are given the label; 0 where not.
    """

    def __init__(self, shape: tuple[int, ...], latents: int, *, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.encoder = Encoder(shape, 2 * latents, given=classes)
        self.decoder = Decoder(shape, latents, given=classes)

    def encode(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of `q(u|x)`, each `(batch, latents)`."""
        mean, log_variance = self.encoder(images, self._given(labels, images)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of `p(x|u)`, pixels between 0 and 1."""
        return self.decoder(latents, self._given(labels, latents)).sigmoid()  # type: ignore[no-any-return]

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return each image's reconstruction from the mean of its latents, pixels between 0 and 1."""
        return self.decode(self.encode(images, labels)[0], labels)

    def _given(self, labels: Tensor, like: Tensor) -> Tensor | None:
        return F.one_hot(labels, self.classes).to(like) if self.classes else None


def evidence_loss(
    network: VariationalAutoencoder, perturbed: Tensor, clean: Tensor, labels: Tensor
) -> Tensor:
    """Return the negative evidence lower bound of clean images whose latents come from perturbed ones.

    `-E_u log p(z|u) + KL(q(u|x) ‖ N(0, 1))`, in nats an image, `u ~ q(u|x)` one draw from torch's random
    numbers. p is normal, with one variance for all pixels, that which fits the batch best: the mean square s
    of what the decoder is off, so that `-log p = dim(z)/2 (log 2πs + 1)` (Rybkin et al. 2021). A variance set
    beforehand would weigh the two terms: with pixels taken as probabilities, reconstructions of held-out
    digits were half as far off again.

    Args:
        network: the auto-encoder.
        perturbed: x, `(batch, channels, height, width)`, pixels between 0 and 1.
        clean: z, its originals.
        labels: their classes, `(batch,)`.

    Returns:
        The mean over the batch.

    >>> network = VariationalAutoencoder((1, 8, 8), 20)
    >>> _ = [parameter.data.zero_() for parameter in network.parameters()]  # so that the second term is 0
    >>> z = torch.ones(2, 1, 8, 8)
    >>> round(evidence_loss(network, z, z, torch.tensor([0, 1])).item(), 3)  # s = 1/4
    46.451
    """
    mean, log_variance = network.encode(perturbed, labels)
    latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    variance = F.mse_loss(network.decode(latents, labels), clean)
    pixels = clean[0].numel() / 2 * ((2 * math.pi * variance).log() + 1)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
    return pixels + divergence / len(clean)


@dataclass(kw_only=True)
class DefenseVae(Purifier):
    """Give back what a VAE makes of each image (defense-VAE, Li & Ji 2019; not in Table 1).

    Convolutions of 16 and 32 channels and 20 latents, mirrored (A.1.2). It learns to give back an image z of
    Dval from `x = clamp(z + ε e(n))`, n normal and ε the defender's, by lowering `-E_u log p(z|u) + KL(q(u|x)
    ‖ N(0, 1))`, with a learning rate that falls to 0. The original learns from attacked images; which attack
    is to come is not known here. In the game the latents are the mean of `q(u|x')`: nothing is drawn.
    """

    steps: int = 5000
    batch_size: int = 100
    learning_rate: float = 0.003
    conditional: ClassVar[bool] = False
    _network: VariationalAutoencoder | None = field(default=None, init=False, repr=False)

    def course(self, ground: Ground) -> Course:
        """Return how the auto-encoder learns."""
        budget = ground.budget
        images = unit_range(ground.validation_inputs, budget)
        network = VariationalAutoencoder(
            tuple(images.shape[1:]), LATENTS, classes=ground.classes if self.conditional else 0
        ).to(images)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)

        def step(number: int) -> float:
            slow_down(optimizer, self.learning_rate, number, self.steps)
            inputs, labels = drawn(self.batch_size, ground.validation_inputs, ground.validation_labels)
            perturbed, clean = (unit_range(x, budget) for x in (randomly_perturbed(inputs, budget), inputs))
            loss = evidence_loss(network, perturbed, clean, labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.item()

        self._network = network
        return Course(repr(self), {"network": network, "optimizer": optimizer}, self.steps, step)

    def purify(self, images: Tensor, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return the reconstructions."""
        network = learned(self._network)
        with torch.no_grad():
            return network(images.to(next(network.parameters())), batch.labels)  # type: ignore[no-any-return]


@dataclass(kw_only=True)
class DefenseCvae(DefenseVae):
    """Give back what a VAE that knows the label makes (defense-CVAE, A.1.2; not in Table 1).

    It learns as `vae` does. The label's one-hot vector stands beside the features of the encoder's
    convolutions, and beside the latents; in the game it is the label that arrived with the image.
    """

    conditional: ClassVar[bool] = True
