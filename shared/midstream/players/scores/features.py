"""What a model's last linear layer receives: the features that several checkers compare."""

import torch
from torch import Tensor, nn


def features_and_outputs(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return a model's features and outputs, differentiable in the inputs.

    The features are the input of the last `nn.Linear` among the model's modules, `(batch, width)`. A model
    without such a layer, or that does not call it once per input, has its outputs as features.

    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> [part.shape[1] for part in features_and_outputs(model, torch.zeros(4, 3))]
    [5, 2]
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        outputs = model(inputs)
        return outputs.flatten(1), outputs
    received: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, arguments: received.append(arguments[0]))
    try:
        outputs = model(inputs)
    finally:
        hook.remove()
    fit = len(received) == 1 and len(received[0]) == len(inputs)
    return (received[0] if fit else outputs).flatten(1), outputs


def features(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a model's features without derivatives; see `features_and_outputs`."""
    with torch.no_grad():
        return features_and_outputs(model, inputs)[0]
