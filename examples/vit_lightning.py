"""A pretrained vision transformer is fine-tuned in a Lightning loop: clean, attacked, and defended.

It makes the pretrained weights first, on half of the classes, and fine-tunes them for the other half.

    python examples/vit_lightning.py
    python examples/vit_lightning.py --dataset cifar10 --data-root DIR --patch 4 --train 5000
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_callback import DefenderCallback
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from midstream import Budget, Source, level_1_attack, pixels, validation_gradient
from midstream.networks.vision_transformer import vit_tiny
from midstream.run.datasets.loading import load

Images = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long.

    Attributes:
        dataset: digits or cifar10.
        root: folder of the data set.
        epsilon: budget of the attacker and of the defender, in L2.
        pretraining: epochs of the pretraining.
        epochs: epochs of the fine-tuning.
        trusted: trusted images.
        train: at most so many images for the fine-tuning.
        patch: side of a patch, in pixels; it divides the side of the image.
        width: values of a token.
        depth: layers of the transformer.
    """

    dataset: str = "digits"
    root: Path | None = None
    epsilon: float = 1.0
    pretraining: int = 20
    epochs: int = 8
    trusted: int = 60
    train: int = 500
    patch: int = 2
    width: int = 32
    depth: int = 2


class Classifier(lightning.LightningModule):
    """A network, AdamW and a cosine schedule."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.002, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class InFlight(Callback):
    """The man in the middle: moves each batch by the level-1 attack at the live parameters."""

    def __init__(self, known: Images, epsilon: float) -> None:
        self._known = known
        self._budget = Budget(epsilon)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        model, (images, labels) = pl_module.eval(), batch
        v = validation_gradient(model, *self._known)
        move = level_1_attack(model, images, labels, validation_gradient=v, budget=self._budget)
        batch[0] = self._budget.perturb(images, move)
        model.train()


def fit(model: Classifier, data: Images, *, epochs: int, callbacks: list[Callback]) -> None:
    loader = DataLoader(TensorDataset(*data), batch_size=50, shuffle=True)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)


def halves(plan: Plan) -> tuple[Images, Images, Images]:
    """Return the first classes' training images, and the other classes' training and test images."""
    found = load(plan.dataset, Source(root=plan.root))
    half = len(found.classes) // 2
    parts = []
    for part, first in ((found.train, 0), (found.train, half), (found.test, half)):
        chosen = (part.labels >= first) & (part.labels < first + half)
        parts.append((pixels(part.inputs[chosen]), part.labels[chosen] - first))
    return parts[0], parts[1], parts[2]


def network(images: Tensor, plan: Plan) -> nn.Module:
    return vit_tiny(tuple(images.shape[1:]), 5, patch=plan.patch, width=plan.width, depth=plan.depth, heads=2)


def pretrain(data: Images, plan: Plan, file: Path) -> None:
    """Train a transformer on the first classes, and write its weights."""
    torch.manual_seed(0)
    model = Classifier(network(data[0], plan))
    fit(model, data, epochs=plan.pretraining, callbacks=[])
    save_file(model.network.state_dict(), file)


def finetune(weights: Path, plan: Plan, *, attacked: bool, defended: bool) -> float:
    """Return the test accuracy on the other classes."""
    torch.manual_seed(1)
    _, (images, labels), (test_images, test_labels) = halves(plan)
    model = Classifier(network(images, plan))
    new = {name: value for name, value in model.network.state_dict().items() if name.startswith("head.")}
    model.network.load_state_dict(load_file(weights) | new)
    trusted = images[: plan.trusted], labels[: plan.trusted]
    rest = slice(plan.trusted, plan.trusted + plan.train)
    callbacks: list[Callback] = []
    if attacked:
        callbacks.append(InFlight(trusted, plan.epsilon))
    if defended:
        callbacks.append(DefenderCallback(*trusted, epsilon=plan.epsilon))
    fit(model, (images[rest], labels[rest]), epochs=plan.epochs, callbacks=callbacks)
    model.eval()
    with torch.no_grad():
        return float((model(test_images).argmax(1) == test_labels).float().mean())


def main() -> None:
    """Print the three accuracies."""
    words = argparse.ArgumentParser()
    words.add_argument("--dataset", default="digits", choices=["digits", "cifar10"])
    words.add_argument("--data-root", dest="root", type=Path)
    for name in ("epsilon", "pretraining", "epochs", "trusted", "train", "patch", "width", "depth"):
        default = getattr(Plan, name)
        words.add_argument(f"--{name}", type=type(default), default=default)
    plan = Plan(**vars(words.parse_args()))
    weights = Path(mkdtemp()) / "pretrained.safetensors"
    pretrain(halves(plan)[0], plan, weights)
    for name, attacked, defended in (
        ("clean", False, False),
        ("attacked", True, False),
        ("defended", True, True),
    ):
        print(f"{name:9} {finetune(weights, plan, attacked=attacked, defended=defended):.3f}", flush=True)


if __name__ == "__main__":
    main()
