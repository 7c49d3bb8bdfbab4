"""A defender as a callback of Lightning: `Trainer(callbacks=[DefenderCallback(x, y, epsilon=1.5)])`.

It corrects each batch before `training_step` sees it. vit_lightning.py trains with it.
"""

from collections.abc import MutableMapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from midstream import Defender


class DefenderCallback(Callback):
    """Corrects each training batch in place; the module's `forward` must return logits.

    Args:
        inputs: inputs that you trust, as the module reads them.
        labels: their labels.
        options: those of `midstream.Defender`, such as epsilon, normalization and entries.
    """

    defender: Defender

    def __init__(self, inputs: Tensor, labels: Tensor, **options: Any) -> None:
        self._trusted = inputs, labels
        self._options = options

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        # The strategy's model is the wrapper of DDP, through which the defender finds the other ranks.
        model = trainer.strategy.model
        assert model is not None
        inputs, labels = trainer.strategy.batch_to_device(self._trusted)
        inputs = trainer.precision_plugin.convert_input(inputs)
        self.defender = Defender(model, inputs, labels, **self._options)

    def on_train_batch_start(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        if isinstance(batch, MutableMapping):
            batch.update(self.defender(batch))
        elif isinstance(batch, list):
            batch[0] = self.defender(batch[0], batch[1])
        else:
            raise TypeError(
                f"the batch is a {type(batch).__name__}, which cannot be changed in place; collate lists or "
                f"dictionaries"
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if trainer.is_global_zero:
            print(self.defender.report())
