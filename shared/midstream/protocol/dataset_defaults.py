"""The default settings of each data set."""

from typing import Any

# The paper's settings (section 6 and A.1.2). Those for digits, tables and phrases are ours, to demonstrate.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "digits-cnn",
        "epsilon": 1.5,
        "validation_size": 400,
        "batch_size": 100,
        "epochs": 60,
    },
    "mnist": {
        "model": "mnist-cnn",
        "epsilon": 3.0,
        "validation_size": 5000,
        "batch_size": 500,
        "epochs": 120,
    },
    "mnist-1-vs-7": {
        "model": "logistic",
        "epsilon": 3.0,
        "train_size": 40,
        "validation_size": 400,
        "batch_size": 40,
        "epochs": 120,
    },
    "cifar": {
        "model": "cifar-cnn",
        "epsilon": 2.0,
        "validation_size": 5000,
        "batch_size": 400,
        "epochs": 240,
    },
    "diabetes": {
        "model": "mlp,hidden=64",
        "epsilon": 1.0,
        "pixel_range": "unbounded",
        "validation_size": 100,
        "batch_size": 40,
        "epochs": 40,
    },
    "breast-cancer": {
        "model": "mlp,hidden=64",
        "epsilon": 2.0,
        "pixel_range": "unbounded",
        "validation_size": 100,
        "batch_size": 40,
        "epochs": 40,
    },
    "california-like": {
        "model": "mlp,hidden=64",
        "epsilon": 0.5,
        "pixel_range": "unbounded",
        "validation_size": 500,
        "batch_size": 100,
        "epochs": 20,
    },
    "phrases": {
        "model": "text-cnn",
        "epsilon": 0.5,
        "pixel_range": "unbounded",
        "validation_size": 200,
        "batch_size": 100,
        "epochs": 40,
    },
    "photos": {"model": "auto", "epsilon": 4.0, "validation_size": 250, "batch_size": 100, "epochs": 40},
}
_FAMILY = {
    "digits": "digits",
    "mnist": "mnist",
    "mnist-1-vs-7": "mnist-1-vs-7",
    "fashion-mnist": "mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "digit-traits": "digits",
    "diabetes": "diabetes",
    "breast-cancer": "breast-cancer",
    "california-like": "california-like",
    "phrases": "phrases",
}


def defaults(dataset: str) -> dict[str, Any]:
    """Return a data set's default settings.

    >>> defaults("mnist")["epsilon"]
    3.0
    """
    return _DEFAULTS[_FAMILY.get(dataset, "photos")]
