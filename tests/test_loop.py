"""The defender in a training loop of one's own, under a level-1 attack."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from midstream import (
    Budget,
    Defender,
    cross_entropy,
    level_1_attack,
    level_1_defense,
    use_batch_statistics,
    validation_gradient,
)
from midstream.mathematics.budget import Norm
from midstream.mathematics.utility import total_loss
from midstream.networks.classifiers import digits_cnn
from midstream.run.datasets import Source, Split, load, split


@pytest.fixture(scope="module")
def data() -> Split:
    return split(load("digits", Source()), validation_size=100, train_size=300, seed=0)


def fresh_model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return digits_cnn((1, 8, 8), 10)


def train(data: Split, *, defended: bool) -> tuple[float, float]:
    """Return the mean validation loss and the test accuracy of a model trained on what arrives."""
    model, budget, z, t = fresh_model(), Budget(2.0), data.validation.inputs, data.validation.labels
    optimizer = torch.optim.Adam(model.parameters(), lr=0.004)
    defender = Defender(model, z, t, epsilon=2.0)
    for _ in range(5):
        for x, y in zip(torch.split(data.train.inputs, 50), torch.split(data.train.labels, 50), strict=True):
            v = validation_gradient(model, z, t)
            arrived = budget.perturb(x, level_1_attack(model, x, y, validation_gradient=v, budget=budget))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(defender(arrived, y) if defended else arrived), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        right = model(data.test.inputs).argmax(dim=1) == data.test.labels
    return float(total_loss(model, z, t)) / len(t), float(right.float().mean())


def test_the_attack_harms_training_and_the_defense_mends_it(data: Split) -> None:
    attacked, attacked_accuracy = train(data, defended=False)
    defended, defended_accuracy = train(data, defended=True)
    assert defended < attacked - 1.0  # nats
    assert defended_accuracy > attacked_accuracy + 0.2


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_one_call_is_the_level_1_defense_clamped(data: Split, norm: Norm) -> None:
    model, z, t = fresh_model(), data.validation.inputs.clamp(0.1, 0.9), data.validation.labels
    x, y = data.train.inputs[:8].clamp(0.1, 0.9), data.train.labels[:8]
    corrected = Defender(model, z, t, epsilon=0.7, norm=norm, pixel_range=(0.1, 0.9), chunk_size=30)(x, y)
    v, budget = validation_gradient(model, z, t), Budget(0.7, norm, 0.1, 0.9)
    move = level_1_defense(model, x, y, validation_gradient=v, budget=budget)
    assert torch.allclose(corrected, (x + move).clamp(0.1, 0.9), atol=1e-3)
    assert (corrected.min(), corrected.max()) == (torch.tensor(0.1), torch.tensor(0.9))


def test_the_defender_follows_the_model_as_it_is_trained(data: Split) -> None:
    model = fresh_model()
    defender = Defender(model, data.validation.inputs, data.validation.labels, epsilon=1.0)
    x, y = data.train.inputs[:8], data.train.labels[:8]
    before = defender(x, y)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    assert not torch.allclose(defender(x, y), before, atol=1e-3)


def test_a_loss_of_ones_own_reaches_both_derivatives(data: Split) -> None:
    seen: list[int] = []

    def counted(outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(len(labels))
        return cross_entropy(outputs, labels)

    defender = Defender(
        fresh_model(),
        data.validation.inputs,
        data.validation.labels,
        epsilon=1.0,
        loss=counted,
        chunk_size=60,
    )
    defender(data.train.inputs[:8], data.train.labels[:8])  # checks the derivatives, once
    seen.clear()
    defender(data.train.inputs[:8], data.train.labels[:8])
    assert seen == [60, 40, 8]


def test_the_gradients_of_a_running_step_are_left_alone(data: Split) -> None:
    model = fresh_model().train()
    x, y = data.train.inputs[:8], data.train.labels[:8]
    F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    before = [(p.clone(), p.grad.clone()) for p in model.parameters() if p.grad is not None]
    corrected = Defender(model, data.validation.inputs, data.validation.labels, epsilon=1.0)(x, y)
    for parameter, (value, gradient) in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
    assert model.training
    assert not corrected.requires_grad
    assert not torch.equal(corrected, x)


def test_dropout_is_not_guessed_and_stays_on_for_the_step(data: Split) -> None:
    plain, dropping = fresh_model(), digits_cnn((1, 8, 8), 10, dropout=0.5)
    dropping.load_state_dict(plain.state_dict())
    x, y = data.train.inputs[:8], data.train.labels[:8]
    defended = [
        Defender(model, data.validation.inputs, data.validation.labels, epsilon=1.0)(x, y)
        for model in (plain, dropping)
    ]
    assert torch.equal(*defended)
    assert all(layer.training for layer in dropping.modules())


def with_batch_norm(**options: bool) -> nn.Module:
    first = nn.Conv2d(1, 4, 3)
    return nn.Sequential(first, nn.BatchNorm2d(4, **options), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_batch_norm_that_trains_is_differentiated_over_the_whole_batch(data: Split) -> None:
    model, z, t = with_batch_norm(), data.validation.inputs, data.validation.labels
    x, y = data.train.inputs[:8].clamp(0.2, 0.8), data.train.labels[:8]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    corrected = Defender(model, z, t, epsilon=0.1)(x, y)
    assert all(layer.training for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    use_batch_statistics(model)
    v = validation_gradient(model.eval(), z, t)
    whole = level_1_defense(model, x, y, validation_gradient=v, budget=Budget(0.1))
    assert torch.allclose(corrected, x + whole, atol=1e-6)
    evaluated = Defender(model, z, t, epsilon=0.1)(x, y)  # in evaluation mode, but marked above
    assert torch.equal(evaluated, corrected)


def test_v_may_be_taken_with_the_statistics_of_validation_batches(data: Split) -> None:
    model, z, t = with_batch_norm(), data.validation.inputs, data.validation.labels
    x, y = data.train.inputs[:8], data.train.labels[:8]
    one, other = (Defender(model, z, t, epsilon=1.0, validation_batch=size)(x, y) for size in (None, 20))
    assert not torch.allclose(one, other, atol=1e-2)
    with pytest.raises(ValueError, match="validation_batch must be at least 2"):
        Defender(model, z, t, epsilon=1.0, validation_batch=1)


def test_batch_norm_without_running_statistics_is_refused(data: Split) -> None:
    model = with_batch_norm(track_running_stats=False)
    defender = Defender(model, data.validation.inputs, data.validation.labels, epsilon=1.0)
    x, y = data.train.inputs[:8], data.train.labels[:8]
    with pytest.raises(ValueError, match="couples the examples"):
        defender(x, y)


def test_a_budget_that_is_none_is_refused_at_once(data: Split) -> None:
    with pytest.raises(ValueError, match="epsilon must be finite"):
        Defender(fresh_model(), data.validation.inputs, data.validation.labels, epsilon=-1.0)
