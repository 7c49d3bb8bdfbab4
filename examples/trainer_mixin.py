"""A defender in the `Trainer` of Hugging Face's transformers.

    class DefendedTrainer(DefenderMixin, Trainer): ...

    trainer = DefendedTrainer(model, args, train_dataset=data)
    trainer.defend(trusted, epsilon=1.5)
    trainer.train()

python examples/trainer_mixin.py
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from midstream import Defender, DefenderReport


class DefenderMixin:
    """Corrects each batch before the model is trained on it; put it before `Trainer` in the class's bases."""

    _defender: Defender | None = None
    _defended: nn.Module | None = None
    _trusted: tuple[Mapping[str, Tensor], dict[str, Any]] | None = None

    def defend(self, trusted: Dataset[Any], **options: Any) -> None:
        """Say what is trusted: a data set with items as in `train_dataset`.

        Args:
            trusted: examples that you trust.
            options: those of `midstream.Defender`, such as epsilon and normalization.
        """
        collated = self.data_collator([trusted[i] for i in range(len(trusted))])  # type: ignore
        self._trusted = collated, {"entries": ("pixel_values", "labels"), **options}
        self._defender = None

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Take the step of `Trainer` on the corrected batch."""
        if self._trusted is not None:
            inputs = self._prepare_inputs(inputs)  # type: ignore  # to the device
            model.train()  # as the step will be
            inputs = self._defender_of(model, inputs)(inputs)
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)  # type: ignore
        return loss

    def report(self) -> DefenderReport | None:
        """Return what the defender has done so far."""
        return None if self._defender is None else self._defender.report()

    def _defender_of(self, model: nn.Module, inputs: Mapping[str, Any]) -> Defender:
        if self._defender is None or self._defended is not model:  # with model_init, each run has a new one
            assert self._trusted is not None
            trusted, options = self._trusted
            named, target = options["entries"]
            to = inputs[named].device
            self._defender = Defender(model, trusted[named].to(to), trusted[target].to(to), **options)
            self._defended = model
        return self._defender


class Images(Dataset[dict[str, Tensor]]):
    """Items as the models of transformers take them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self._images[index], "labels": self._labels[index]}


def accuracy(folder: str, *, attacked: bool, defended: bool, epochs: int = 20) -> float:
    """Return the test accuracy of a small ResNet with batch norm, trained on clean or tampered digits."""
    from training_loop import EPSILON, digits, tampered
    from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

    class DefendedTrainer(DefenderMixin, Trainer):
        pass

    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=1,
        num_labels=10,
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
    )
    model = ResNetForImageClassification(config)
    trusted, (images, labels), (test_images, test_labels) = digits()
    if attacked:
        images = tampered(images, labels)
    arguments = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=100,
        learning_rate=0.003,
        lr_scheduler_type="cosine",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = DefendedTrainer(model, arguments, train_dataset=Images(images, labels))
    if defended:
        trainer.defend(Images(*trusted), epsilon=EPSILON)
    trainer.train()
    if (report := trainer.report()) is not None:
        print(report)
    predicted = trainer.predict(Images(test_images, test_labels)).predictions
    return float((torch.as_tensor(predicted).argmax(1) == test_labels).float().mean())


if __name__ == "__main__":
    from tempfile import mkdtemp

    print(f"clean     {accuracy(mkdtemp(), attacked=False, defended=False):.3f}")
    print(f"attacked  {accuracy(mkdtemp(), attacked=True, defended=False):.3f}")
    print(f"defended  {accuracy(mkdtemp(), attacked=True, defended=True):.3f}")
