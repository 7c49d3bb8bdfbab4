"""The level-1 defender for a training loop of your own."""

from torch import Tensor, nn

from midstream.defences.loop_checks import LoopChecks
from midstream.mathematics.budget import Budget, Norm
from midstream.mathematics.derivatives.batch_statistics import (
    Statistics,
    refuse_other_coupling,
    using_batch_statistics,
)
from midstream.mathematics.derivatives.functional import unwrapped
from midstream.mathematics.derivatives.gradients import validation_gradient
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.inputs.pixel_space import Normalization, PixelSpace
from midstream.mathematics.level_1 import level_1_defense
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.modes import layers_in_training_mode, switched


class Defender:
    """Corrects each minibatch so that the step it causes lowers the loss on data you trust.

    `x'' = clamp(x' + ε e(B_x' v))`, the level-1 defence (paper Theorem 1) at the model's current parameters.
    Derivatives are taken in evaluation mode, because the random choices that a layer such as dropout will
    make in the step are unknown. Batch norm that is in training mode at the call is an exception: the batch
    is differentiated as a whole, with its own statistics, as the step will use them. A call costs about three
    forward passes over the validation set and four over the batch. It does not change the model, its mode,
    its running statistics or its gradients.

    Args:
        model: the model being trained; wrappers (`DataParallel`, `DistributedDataParallel`, `torch.compile`)
            are unwrapped.
        validation_inputs: clean inputs that you trust, `(examples, *input)`, on the model's device.
        validation_labels: their labels, `(examples,)`.
        epsilon: maximum perturbation of an example, in pixel units; choose about the attacker's budget.
        norm: `"l2"` or `"linf"`.
        pixel_range: smallest and largest valid pixel value.
        normalization: `(mean, std)` if all inputs, including the validation set, are normalised: two numbers,
            or two sequences with one number per channel, as for `torchvision.transforms.Normalize`. Budget
            and pixel range apply to the pixels, `input · std + mean`; a call returns normalised inputs.
        loss: a loss that sums over its batch.
        validation_batch: None takes the gradient of the validation loss with the running statistics of batch
            norm; a number takes it with the statistics of batches of at most so many validation examples.
        chunk_size: validation examples per chunk; memory grows with it. None as in
            `midstream.validation_gradient`.

    Raises:
        ValueError: the validation inputs or labels are invalid; the message says why.

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
        validation_batch: int | None = None,
        chunk_size: int | None = None,
    ) -> None:
        self.model = unwrapped(model)
        self.validation_inputs = validation_inputs
        self.validation_labels = validation_labels
        self.budget = Budget(epsilon, norm, *pixel_range)
        self.loss = loss
        self.validation_batch = Statistics(validation_batch).validation_batch
        self.chunk_size = chunk_size
        self._space = PixelSpace(normalization)
        self._checks = LoopChecks(self.budget, self._space, loss)
        self._validation_pixels = self._checks.validation(validation_inputs, validation_labels)
        self._of_pixels = self._space.of_pixels(self.model)

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the corrected inputs, to train on in place of `inputs`.

        Raises:
            midstream.DerivativeError: the model's derivatives are wrong; the first call checks them by
                `midstream.check_derivatives`.
            ValueError: the inputs or labels are invalid, such as inputs outside the pixel range; the message
                says why.
        """
        with (
            using_batch_statistics(self.model, validation_batch=self.validation_batch),
            switched(layers_in_training_mode(self.model), training=False),
        ):
            refuse_other_coupling(self.model)
            at = self._checks.batch(inputs, labels, model=self.model)
            order_of(self._of_pixels, at, labels, loss=self.loss)  # check before computing anything
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
