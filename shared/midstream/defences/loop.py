"""The level-1 defender for a training loop of your own."""

from torch import Tensor, nn

from midstream.defences.loop_checks import LoopChecks
from midstream.mathematics.budget import Budget, Norm
from midstream.mathematics.derivatives.functional import refuse_coupled_examples, unwrapped
from midstream.mathematics.derivatives.gradients import CHUNK, validation_gradient
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.level_1 import level_1_defense
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.modes import layers_in_training_mode, switched
from midstream.mathematics.pixel_space import Normalization, PixelSpace


class Defender:
    """Corrects each minibatch so that the step it causes lowers the loss on data you trust.

    `x'' = clamp(x' + ε e(B_x' v))`, the level-1 defence (paper Theorem 1), at the model's parameters at the
    time of the call, taken in evaluation mode: what a layer such as dropout will do in the step is not known
    beforehand. A call costs about three forward passes over the validation set and four over the batch, and
    leaves the model, its mode and its gradients as they were.

    Args:
        model: the model being trained; of `DataParallel`, `DistributedDataParallel` and `torch.compile` what
            they wrap.
        validation_inputs: clean inputs that you trust, `(examples, *input)`, on the model's device.
        validation_labels: their labels, `(examples,)`.
        epsilon: how far an example may be moved, in pixel units; about the attacker's budget.
        norm: `"l2"` or `"linf"`.
        pixel_range: smallest and largest valid pixel value.
        normalization: `(mean, std)` if the inputs are normalised, those of the validation set included: two
            numbers, or two sequences of one number a channel, as `torchvision.transforms.Normalize` has them.
            Budget and pixel range hold for the pixels, `input · std + mean`; a call returns normalised
            inputs.
        loss: a loss that sums over its batch.
        chunk_size: validation examples at a time; memory follows it.

    Raises:
        ValueError: the validation inputs or labels cannot be reasoned with, and why.

    >>> import torch
    >>> model = nn.Linear(4, 2)
    >>> defender = Defender(model, torch.rand(20, 4), torch.randint(2, (20,)), epsilon=0.5)
    >>> defender(torch.rand(8, 4), torch.randint(2, (8,))).shape
    torch.Size([8, 4])
    """

    def __init__(
        self,
        model: nn.Module,
        validation_inputs: Tensor,
        validation_labels: Tensor,
        *,
        epsilon: float,
        norm: Norm = "l2",
        pixel_range: tuple[float, float] = (0.0, 1.0),
        normalization: Normalization | None = None,
        loss: Loss = cross_entropy,
        chunk_size: int = CHUNK,
    ) -> None:
        self.model = unwrapped(model)
        self.validation_inputs = validation_inputs
        self.validation_labels = validation_labels
        self.budget = Budget(epsilon, norm, *pixel_range)
        self.loss = loss
        self.chunk_size = chunk_size
        self._space = PixelSpace(normalization)
        self._checks = LoopChecks(self.budget, self._space, loss)
        self._validation_pixels = self._checks.validation(validation_inputs, validation_labels)
        self._of_pixels = self._space.of_pixels(self.model)

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the corrected inputs, to train on in place of `inputs`.

        Raises:
            midstream.DerivativeError: the model's derivatives cannot be right, see
                `midstream.check_derivatives`, which is asked at the first call.
            ValueError: inputs or labels cannot be corrected, such as inputs outside of the pixel range; it
                says why.
        """
        refuse_coupled_examples(self.model)
        with switched(layers_in_training_mode(self.model), training=False):
            at = self._checks.batch(inputs, labels, model=self.model)
            order_of(self._of_pixels, at, labels, loss=self.loss)  # before anything is computed
            v = validation_gradient(
                self._of_pixels,
                self._validation_pixels,
                self.validation_labels,
                loss=self.loss,
                chunk_size=self.chunk_size,
            )
            correction = level_1_defense(
                self._of_pixels, at, labels, validation_gradient=v, budget=self.budget, loss=self.loss
            )
        return self._space.inputs(self.budget.perturb(at, correction))
