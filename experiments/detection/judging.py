"""One game, judged by every checker at once. A checker that only flags changes no bit of a game."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

import midstream
from experiments.detection.recording import Recording, joined
from midstream import Batch, Gate, Suspicion, View, pixels, plugins
from midstream.command.runs.detection import auc, true_positives
from midstream.storage.attacked import attacked


@dataclass
class All:
    """Every checker by name, asked one after the other; it suspects nobody itself."""

    gates: Mapping[str, Gate]
    found: dict[str, list[Any]] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    dval: tuple[Tensor, Tensor] | None = None

    @property
    def parts(self) -> tuple[object, ...]:
        """The checkers, so that those which learn before the game do."""
        return tuple(gate.checker for gate in self.gates.values())

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Ask every checker, and keep the batch."""
        for name, gate in self.gates.items():
            self.found.setdefault(name, []).append(gate.inspect(batch, view))
        self.inputs.append(batch.inputs.clone())
        self.labels.append(batch.labels.clone())
        self.dval = pixels(view.validation_inputs), view.validation_labels
        return Suspicion(torch.zeros(len(batch.labels)), torch.tensor(0.0))


def play(attacker: str, seed: int, *, fraction: float, epochs: int) -> tuple[dict[str, Any], Recording]:
    """Play one game on digits; return its figures with each checker's scores, and its recording."""
    everyone = All({name: plugins.make_gate(name) for name in plugins.names("checkers")})
    text = attacker if attacker == "none" else f"{attacker},fraction={fraction}"
    with TemporaryDirectory() as out:
        result = midstream.play(
            dataset="digits",
            attacker=text,
            seed=seed,
            epochs=epochs,
            checker=everyone,
            evaluate_every=1,
            out=out,
            run="game",
            threads=1,
            device="cpu",
            follow=lambda *_: None,
        )
        altered = attacked(result.folder)
        model = {name: value.cpu() for name, value in result.model().state_dict().items()}
        curve = [float(value) for value in result.metrics["test_accuracy"]]
    inputs, step = joined(everyone.inputs)
    truth = [
        place in altered.get(seq, ())
        for seq, rows in enumerate(everyone.labels)
        for place in range(len(rows))
    ]
    assert everyone.dval is not None
    recording = Recording(
        step, inputs, torch.cat(everyone.labels), torch.tensor(truth), *everyone.dval, model=model
    )
    scores = {
        name: _scores(findings, everyone.gates[name].threshold, np.array(truth))
        for name, findings in everyone.found.items()
    }
    return {"sha256": result.parameters_sha256, "accuracy": curve, "found": scores}, recording


def _scores(findings: Sequence[Any], threshold: float, truth: Any) -> dict[str, Any]:
    suspicion = np.array([one for finding in findings for one in finding.examples])
    return {
        **ranked(suspicion, truth),
        "false_alarms": float((suspicion[~truth] > threshold).mean()),
        "alarms": [seq for seq, finding in enumerate(findings) if finding.alarm],
    }


def ranked(suspicion: Any, truth: Any) -> dict[str, float | None]:
    """Return `auc` and `true_positives_at_5` of suspicions; None where no example was attacked."""
    if not truth.any():
        return {"auc": None, "true_positives_at_5": None}
    return {
        "auc": auc(suspicion[truth], suspicion[~truth]),
        "true_positives_at_5": true_positives(suspicion[truth], suspicion[~truth]),
    }
