"""Dropout as a model option: the same parameters, off for the players, on for the step."""

from pathlib import Path

import pytest
import torch
from services import tiny
from torch import Tensor, nn

from midstream import Batch, Gradient, mixed_derivative, plugins, validation_gradient
from midstream.mathematics.seeds import derive
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.run.models import build_model
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun

DIGITS = (1, 8, 8)
INPUTS = {
    "auto": DIGITS,
    "digits-cnn": DIGITS,
    "mnist-cnn": (1, 28, 28),
    "cifar-cnn": (3, 32, 32),
    "photo-cnn": (3, 256, 256),
}
LAYERS = {"digits-cnn": 3, "mnist-cnn": 3, "cifar-cnn": 4, "photo-cnn": 5}
OTHERS = {"logistic", "text-cnn", "resnet18", "wide-resnet", "vit-tiny", "convnext-tiny"}
"""Networks without hidden nodes, or whose dropout is not that of the paper."""


def drawn(text: str, shape: tuple[int, ...] = DIGITS) -> nn.Module:
    """Return a network with the weights that its layers draw first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(text, shape, 10)


@pytest.mark.parametrize("name", sorted(set(plugins.names("models")) - OTHERS))
def test_a_network_with_dropout_starts_from_the_same_parameters(name: str) -> None:
    plain, none, some = (
        drawn(text, INPUTS.get(name, (1, 28, 28)))
        for text in (name, f"{name},dropout=0", f"{name},dropout=0.2")
    )
    assert str(plain) == str(none)
    shares = [layer.p for layer in some.modules() if isinstance(layer, nn.Dropout)]
    hidden = sum(isinstance(layer, nn.ReLU) for layer in plain.modules())
    assert shares == [0.2] * hidden
    assert hidden == LAYERS.get(name, hidden) > 0
    for other in (none, some):
        assert list(other.state_dict()) == list(plain.state_dict())
        assert all(map(torch.equal, plain.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("share", ["1", "-0.1", "nan"])
def test_a_share_that_is_none(share: str) -> None:
    with pytest.raises(
        PluginError, match=r"at least 0 and below 1, not (1\.0|-0\.1)|'nan', which is not a number"
    ):
        drawn(f"digits-cnn,dropout={share}")


def run(model: str, seed: int = 0) -> TrainingRun:
    settings = tiny.SPECIFICATION | {"model": model, "seed": seed}
    return TrainingRun(Specification.model_validate(settings), tiny.split(), device=torch.device("cpu"))


def first_batch(seq: int = 0) -> Batch:
    train = tiny.split().train
    return Batch(seq, train.pixels()[:10], train.labels[:10])


def test_the_players_see_the_network_without_it() -> None:
    plain, dropping = run("digits-cnn"), run("digits-cnn,dropout=0.5")
    batch, validation = first_batch(), plain.view()
    z, t = validation.validation_inputs, validation.validation_labels
    for _ in range(2):
        v: list[Gradient] = []
        mixed: list[Tensor] = []
        for each in (plain, dropping):
            model = each.view().model
            assert not any(layer.training for layer in model.modules())
            v.append(validation_gradient(model, z, t))
            assert all(map(torch.equal, v[-1].values(), each.validation_gradient().values()))
            mixed.append(mixed_derivative(model, batch.inputs, batch.labels, v[-1]))
        assert all(map(torch.equal, v[0].values(), v[1].values()))
        assert torch.equal(*mixed)
        dropping.train(batch)
        assert not all(map(torch.equal, plain.parameters().values(), dropping.parameters().values()))
        plain.model.load_state_dict(dropping.parameters())  # the same parameters after the step, too
        dropping.step = plain.step = dropping.step
    assert dropping.evaluate() == plain.evaluate()


def test_a_step_is_the_one_in_training_mode_with_the_numbers_of_its_own() -> None:
    dropping, batch = run("digits-cnn,dropout=0.5"), first_batch(seq=0)
    by_hand = drawn("digits-cnn,dropout=0.5")
    by_hand.load_state_dict(dropping.parameters())
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.0008)
    torch.manual_seed(derive(0, 0, "step"))
    loss = nn.functional.cross_entropy(by_hand(batch.inputs), batch.labels, reduction="sum")
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    state = torch.get_rng_state()
    torch.manual_seed(1)
    step = dropping.train(batch)
    assert step.loss == pytest.approx(loss.item() / 10)
    assert all(map(torch.equal, by_hand.state_dict().values(), dropping.parameters().values()))
    assert torch.get_rng_state().equal(torch.Generator().manual_seed(1).get_state())
    torch.set_rng_state(state)


@pytest.mark.parametrize(("seed", "seq"), [(1, 0), (0, 1)])
def test_another_seed_or_batch_number_drops_other_nodes(seed: int, seq: int) -> None:
    one, other = run("digits-cnn,dropout=0.5"), run("digits-cnn,dropout=0.5", seed)
    other.model.load_state_dict(one.parameters())
    losses = [one.train(first_batch()).loss, other.train(first_batch(seq)).loss]
    assert losses[0] != losses[1]


def test_a_step_that_fails_leaves_the_model_in_evaluation_mode() -> None:
    dropping = run("digits-cnn,dropout=0.5")
    batch = first_batch()
    with pytest.raises(IndexError):
        dropping.train(Batch(0, batch.inputs, batch.labels + 10))
    assert not any(layer.training for layer in dropping.model.modules())


MASKED = """
import torch
from torch import nn

class Masked(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.register_buffer("mask", torch.rand(inputs), persistent=False)
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x):
        return self.linear(self.mask * x.flatten(1))

def masked(input_shape, classes):
    return Masked(64)
"""


def test_the_attackers_copy_is_drawn_as_the_model_was_and_takes_no_number_of_another_game(
    tmp_path: Path,
) -> None:
    file = tmp_path / "masked.py"
    file.write_text(MASKED)
    settings = Specification.model_validate(tiny.SPECIFICATION | {"model": f"{file}:masked"})
    made = TrainingRun(settings, tiny.split(), device=torch.device("cpu"))
    before = torch.get_rng_state()
    attacked = AttackedRun(LocalGame(made), AttackSettings("level-1", allowed=None))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(attacked._model.get_buffer("mask"), made.model.get_buffer("mask"))
