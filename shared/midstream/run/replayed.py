"""The validation gradient of a host's model by a program, which a CUDA device may replay as a graph."""

from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.graphs.program import Programs


def replayed_validation_gradient(
    programs: Programs, model: nn.Module, validation: tuple[Tensor, Tensor]
) -> Gradient:
    """Return `v` of a model; see `midstream.validation_gradient`.

    Args:
        programs: the programs of the model's host.
        model: the model.
        validation: inputs and labels of the validation set.
    """
    values = programs("v", lambda: tuple(validation_gradient(model, *validation).values()))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return dict(zip(names, values, strict=True))
