"""Detectors of the Adversarial Robustness Toolbox, on recorded batches.

The toolbox judges a training set after the training, so it gets the whole recording and the parameters at the
end of the game. The checkers here judge each batch when it arrives. The toolbox takes the features that the
checkers `spectral` and `activation` take. It is no dependency of midstream:
`pip install adversarial-robustness-toolbox`.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click
import numpy as np
from torch import Tensor, nn

from experiments.detection.judging import ranked
from experiments.detection.recording import Recording
from midstream.players.scores.features import features
from midstream.protocol.specification import Specification
from midstream.run.models import build_model

CLASSES = 10


class Features(nn.Module):
    """A network without its last layer, as the toolbox wants it: its outputs are the features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the last linear layer receives."""
        return features(self.network, inputs)


def judge(recording: Recording, *, seed: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of each detector that is installed, by name, beside those that are known."""
    if find_spec("art") is None:
        click.echo(
            "skipped the Adversarial Robustness Toolbox, which is not installed: "
            "pip install adversarial-robustness-toolbox",
            err=True,
        )
        return dict(known)
    detectors = import_module("art.defences.detector.poison")
    classifiers = import_module("art.estimators.classification")
    specification = Specification.model_validate({"dataset": "digits"})
    network = build_model(specification.model, tuple(recording.inputs.shape[1:]), CLASSES)
    network.load_state_dict(dict(recording.model))
    inputs, labels = recording.inputs.numpy(), np.eye(CLASSES)[recording.labels.numpy()]
    classifier = classifiers.PyTorchClassifier(
        model=nn.Sequential(Features(network.eval())),
        loss=nn.CrossEntropyLoss(),
        input_shape=inputs.shape[1:],
        nb_classes=CLASSES,
        device_type="cpu",
    )
    truth = recording.attacked.numpy()
    np.random.seed(seed)  # the toolbox draws from numpy's global generator
    _, clean = detectors.ActivationDefence(classifier, inputs, labels).detect_poison(
        nb_clusters=2, nb_dims=10, reduce="PCA", cluster_analysis="smaller"
    )
    clustered = 1.0 - np.array(clean, dtype=float)
    signatures = np.zeros(len(truth))
    for label in range(CLASSES):
        own = recording.labels.numpy() == label
        rows = classifier.get_activations(inputs[own], layer=0, batch_size=128)
        signatures[own] = detectors.SpectralSignatureDefense.spectral_signature_scores(rows)[:, 0]
    _, clean = detectors.SpectralSignatureDefense(
        classifier, inputs, labels, expected_pp_poison=float(truth.mean()), eps_multiplier=1.0
    ).detect_poison()
    return {
        **known,
        "art-activation": _scores(clustered, clustered, truth),
        "art-spectral": _scores(signatures, 1.0 - np.array(clean, dtype=float), truth),
    }


def _scores(suspicion: Any, flagged: Any, truth: Any) -> dict[str, Any]:
    return {
        **ranked(suspicion, truth),
        "found": float(flagged[truth].mean()),
        "false_alarms": float(flagged[~truth].mean()),
    }
