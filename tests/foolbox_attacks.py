"""Foolbox, whose import takes a second: import this where it is used."""

import warnings

with warnings.catch_warnings():
    # One of its attacks imports a function by the name that scipy had for it earlier.
    warnings.filterwarnings("ignore", message="Please import `gaussian_filter`", category=DeprecationWarning)
    from foolbox.attacks import LinfPGD
    from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
    from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack
    from foolbox.criteria import Misclassification
    from foolbox.models.pytorch import PyTorchModel

__all__ = [
    "L2CarliniWagnerAttack",
    "LinfFastGradientAttack",
    "LinfPGD",
    "Misclassification",
    "PyTorchModel",
]
