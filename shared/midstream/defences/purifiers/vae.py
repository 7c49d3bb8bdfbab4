"""Defence by a variational auto-encoder, with or without the labels."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream.defences.purifiers.purifier import (
    Purifier,
    drawn,
    learned,
    randomly_perturbed,
    slow_down,
    unit_range,
)
from midstream.networks.autoencoder import LATENTS, Decoder, Encoder
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View


class VariationalAutoencoder(nn.Module):
    """An encoder `q(u|x)`, a normal distribution over latents u, and a decoder `p(x|u)`.

    Args:
        shape: shape of one image, `(channels, height, width)`.
        latents: dimension of u.
        classes: number of classes if encoder and decoder get the label; 0 if they do not.
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
        """Return the mean of `p(x|u)`, with pixels between 0 and 1."""
        return self.decoder(latents, self._given(labels, latents)).sigmoid()  # type: ignore[no-any-return]

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return each image's reconstruction from the mean of its latents, with pixels between 0 and 1."""
        return self.decode(self.encode(images, labels)[0], labels)

    def _given(self, labels: Tensor, like: Tensor) -> Tensor | None:
        return F.one_hot(labels, self.classes).to(like) if self.classes else None


def evidence_loss(
    network: VariationalAutoencoder, perturbed: Tensor, clean: Tensor, labels: Tensor
) -> Tensor:
    """Return the negative evidence lower bound of clean images, with latents inferred from perturbed images.

    `-E_u log p(z|u) + KL(q(u|x) ‖ N(0, 1))`, in nats per image, with `u ~ q(u|x)` drawn once from torch's
    random numbers. p is normal with one variance for all pixels, the maximum-likelihood variance of the
    batch: the mean square s of the decoder's error, so `-log p = dim(z)/2 (log 2πs + 1)` (Rybkin et al.
        2021). A
    fixed variance would set the relative weight of the two terms by hand. With pixels modelled as
    probabilities instead, the error on held-out digits was half as large again.

    Args:
        network: the auto-encoder.
        perturbed: x, `(batch, channels, height, width)`, with pixels between 0 and 1.
        clean: z, the clean images.
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
    """Replace each image by a VAE's reconstruction (defense-VAE, Li & Ji 2019; not in Table 1).

    The encoder has convolutions of 16 and 32 channels and 20 latents; the decoder mirrors it (A.1.2). The
    network learns to reconstruct an image z of Dval from `x = clamp(z + ε e(n))`, with n normal and ε the
    defender's budget. It lowers `-E_u log p(z|u) + KL(q(u|x) ‖ N(0, 1))`, with a learning rate that falls to
    0. The original learns from attacked images; this defence does not know the attack beforehand. In the game
    it uses the mean of `q(u|x')` as latents and draws nothing at random.
    """

    steps: int = 5000
    batch_size: int = 100
    learning_rate: float = 0.003
    conditional: ClassVar[bool] = False
    _network: VariationalAutoencoder | None = field(default=None, init=False, repr=False)

    def course(self, ground: Ground) -> Course:
        """Return the auto-encoder's training."""
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
    """Replace each image by a label-conditional VAE's reconstruction (defense-CVAE, A.1.2; not in Table 1).

    It trains like `vae`. The label's one-hot vector is concatenated to the features of the encoder's
    convolutions and to the latents. In the game the label is the one received with the image.
    """

    conditional: ClassVar[bool] = True
