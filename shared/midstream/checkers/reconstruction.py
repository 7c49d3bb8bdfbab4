"""Detection by the error of a learned purifier."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.level_k import check_steps
from midstream.networks.autoencoder import LATENTS, Decoder, Encoder
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, View
from midstream.players.scores.suspicion import Suspicion, among


@dataclass(kw_only=True)
class Reconstruction:
    """An example that a purifier changes much is suspicious (MagNet, Meng & Chen 2017; not in Table 1).

    `s(x) = ‖x - r(x)‖`, with r a denoising autoencoder that is trained on Dval before the game. There are
    two: each learns from one half of Dval. A trusted example is scored by the one that has not seen it, an
    example of the batch by the mean of both errors. In training, each image z is disturbed to
    `z + ε e(n)` with ε drawn between 0 and the defender's budget, and r learns to return z.

    Shapes: inputs `(batch, channels, height, width)`; scores `(batch,)`, in pixel units. Cost: two passes
    through a small network for each example of the batch and one for each of Dval; `steps` training steps
    before the game, which are cached.

    Args:
        steps: number of training steps.
        batch_size: images in each training step, drawn at random.
        learning_rate: Adam's learning rate.
    """

    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 0.003
    _networks: list[nn.Module] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_steps(self.steps, self.learning_rate)
        check_steps(self.batch_size, called="batch_size")

    def course(self, ground: Ground) -> Course:
        """Return the training of both autoencoders."""
        images = ground.validation_inputs
        if images.dim() != 4 or len(images) < 2:
            raise ValueError(
                f"reconstruction needs at least two images in Dval, not inputs of {tuple(images.shape)}"
            )
        shape = tuple(images.shape[1:])
        networks = [
            nn.Sequential(Encoder(shape, LATENTS), Decoder(shape, LATENTS)).to(images.device)
            for _ in range(2)
        ]
        optimizers = [torch.optim.Adam(one.parameters(), lr=self.learning_rate) for one in networks]
        halves, budget = [images[0::2], images[1::2]], ground.budget
        self._networks = [one.eval() for one in networks]

        def step(_: int) -> float:
            total = 0.0
            for network, optimizer, half in zip(networks, optimizers, halves, strict=True):
                chosen = half[torch.randint(len(half), (self.batch_size,)).to(half.device)]
                sizes = torch.rand(len(chosen), 1, 1, 1).to(chosen) * budget.epsilon
                disturbed = budget.perturb(
                    chosen, sizes * budget.direction(torch.randn(chosen.shape).to(chosen))
                )
                loss = (network(disturbed) - chosen).square().flatten(1).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() / 2
            return total

        parts: dict[str, nn.Module | torch.optim.Optimizer] = {}
        for place, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            parts |= {f"network_{place}": network, f"optimizer_{place}": optimizer}
        return Course(settings=repr(self), parts=parts, steps=self.steps, step=step)

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the errors among those of Dval, each half by the network of the other."""
        with torch.no_grad():
            known = pixels(view.validation_inputs)
            trusted = torch.empty(len(known), dtype=known.dtype, device=known.device)
            for place in range(2):
                trusted[1 - place :: 2] = self._error(place, known[1 - place :: 2])
            return among(trusted, self.score(batch.inputs, batch.labels, view))

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:  # noqa: ARG002
        """Return the mean of both networks' errors."""
        return (self._error(0, inputs) + self._error(1, inputs)) / 2

    def _error(self, place: int, images: Tensor) -> Tensor:
        if not self._networks:
            raise RuntimeError("reconstruction learns before the game, and has not")
        restored: Tensor = self._networks[place](images)
        error: Tensor = (images - restored).flatten(1).norm(dim=1)
        return error
