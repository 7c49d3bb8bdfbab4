"""The defender in the loops of Lightning and of transformers: the examples do what they say.

Each test is skipped where its library is missing; `pip install -e '.[dev]'` brings Lightning.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import midstream

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(EXAMPLES)  # as `python examples/vit_lightning.py` has it
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def lightning() -> Any:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return pytest.importorskip("pytorch_lightning", reason="Lightning is not installed")


# What Lightning says of its own use of torch, and of data loaders without processes.
quietly = pytest.mark.filterwarnings("default")


@quietly
@pytest.mark.usefixtures("lightning")
def test_a_pretrained_transformer_is_finetuned_under_attack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vit_lightning import Plan, finetune, halves, pretrain

    plan = Plan(pretraining=12, epochs=4, train=300, epsilon=1.5)
    weights = tmp_path / "weights.safetensors"
    pretrain(halves(plan)[0], plan, weights)
    clean = finetune(weights, plan, attacked=False, defended=False)
    attacked = finetune(weights, plan, attacked=True, defended=False)
    defended = finetune(weights, plan, attacked=True, defended=True)
    assert "Defender: 24 calls, 1200 examples, 0 refused" in capsys.readouterr().out
    assert attacked < clean - 0.1
    assert defended > attacked + 0.05


@quietly
@pytest.mark.parametrize("named", [False, True])
def test_the_callback_hands_the_corrected_batch_to_the_step(lightning: Any, named: bool) -> None:
    from lightning_callback import DefenderCallback
    from torch.utils.data import DataLoader

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Linear(4, 3)
            self.seen: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x)
            return logits

        def training_step(self, batch: Any, _: int) -> Tensor:
            x, y = batch.values() if named else batch
            self.seen.append(x)
            return nn.functional.cross_entropy(self(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    x, y = torch.full((6, 4), 0.5), torch.arange(6) % 3
    items: Any = [{"x": a, "y": b} for a, b in zip(x, y, strict=True)] if named else [*zip(x, y, strict=True)]
    callback = DefenderCallback(x, y, epsilon=0.1, **({"entries": ("x", "y")} if named else {}))
    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(items, batch_size=3))
    assert torch.allclose((torch.cat(module.seen) - x).norm(dim=1), torch.full((6,), 0.1), atol=1e-5)
    assert torch.equal(x, torch.full((6, 4), 0.5))
    assert torch.allclose(torch.cat(module.seen)[:3], callback.defender(x[:3], y[:3]), atol=1e-6)
    with pytest.raises(TypeError, match="the batch is a tuple, which cannot be changed in place"):
        callback.on_train_batch_start(trainer, module, (x, y), 0)


def test_the_mixin_defends_the_model_that_is_trained_now() -> None:
    """A stand-in for transformers' Trainer, which makes a new model for each run with `model_init`."""
    from trainer_mixin import DefenderMixin, Images

    class Trainer:
        def data_collator(self, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
            return {name: torch.stack([item[name] for item in items]) for name in items[0]}

        def _prepare_inputs(self, inputs: Any) -> Any:
            return inputs

        def training_step(self, model: nn.Module, inputs: Any) -> Any:  # noqa: ARG002
            return inputs["pixel_values"]

    class DefendedTrainer(DefenderMixin, Trainer):
        pass

    images, labels = torch.full((6, 4), 0.5), torch.arange(6) % 3
    batch = {"pixel_values": images, "labels": labels}
    trainer = DefendedTrainer()
    for epsilon in (0.1, 0.2):
        trainer.defend(Images(images, labels), epsilon=epsilon)
        for model in (nn.Linear(4, 3), nn.Linear(4, 3)):
            expected = midstream.Defender(model, images, labels, epsilon=epsilon)(images, labels)
            assert torch.equal(trainer.training_step(model, batch), expected)
            report = trainer.report()
            assert report is not None
            assert report.calls == 1


@quietly
def test_the_trainer_of_transformers_trains_on_the_corrected_batches(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from trainer_mixin import DefenderMixin, Images

    class DefendedTrainer(DefenderMixin, transformers.Trainer):  # type: ignore[misc, name-defined]
        pass

    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=3,
    )
    model = transformers.ViTForImageClassification(config)
    seen: list[Tensor] = []
    images, labels = torch.full((6, 1, 8, 8), 0.5), torch.arange(6) % 3
    arguments = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=2, per_device_train_batch_size=3, report_to="none", save_strategy="no"
    )
    trainer = DefendedTrainer(model, arguments, train_dataset=Images(images, labels))
    trainer.defend(Images(images, labels), epsilon=0.1)
    step = transformers.Trainer.compute_loss

    def watched(self: Any, model: nn.Module, inputs: Any, **options: Any) -> Any:
        seen.append(inputs["pixel_values"])
        return step(self, model, inputs, **options)

    DefendedTrainer.compute_loss = watched
    before = [parameter.clone() for parameter in model.parameters()]
    trainer.train()
    assert len(seen) == 4
    for inputs in seen:
        assert torch.allclose((inputs - 0.5).flatten(1).norm(dim=1), torch.full((3,), 0.1), atol=1e-5)
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    report = trainer.report()
    assert report is not None
    assert (report.calls, report.examples, report.order) == (4, 12, "double-backward")
