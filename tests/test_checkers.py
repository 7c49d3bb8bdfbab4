"""Each checker against a closed form or another implementation, and what all of them have in common."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import CLASSES, CONV, Problem
from torch import Tensor, nn
from torch.nn import functional
from views import view as shown

from midstream import Batch, View, among, plugins
from midstream.checkers.activation import Activation, trusted_first
from midstream.checkers.confidence import Confidence
from midstream.checkers.drift import Drift
from midstream.checkers.gradient_norm import GradientNorm
from midstream.checkers.knn import Knn
from midstream.checkers.loss import Loss
from midstream.checkers.loss_trajectory import LossTrajectory
from midstream.checkers.reconstruction import Reconstruction
from midstream.checkers.spectral import Spectral
from midstream.players.checking import Checker, judged
from midstream.players.course import Ground, learn
from midstream.players.referee import restore, state_of
from midstream.players.scores.features import features
from midstream.players.scores.scored import Scoring
from midstream.tasks.losses import mse

NAMES = plugins.names("checkers")


@pytest.fixture(scope="module")
def p() -> Problem:
    return CONV.build(torch.float32, batch=12, validation=40)


def view(p: Problem, version: int = 0) -> View:
    return replace(shown(p), role="checker", classes=CLASSES, parameters_version=version)


def batch(p: Problem, seq: int = 0) -> Batch:
    return Batch(seq, p.inputs.roll(seq, 0), p.labels.roll(seq, 0))


def ready(name: str, p: Problem) -> Checker:
    text = f"{name},steps=3,batch_size=4" if name == "reconstruction" else name
    checker = plugins.make_gate(text).checker
    ground = Ground(
        p.validation_inputs,
        p.validation_labels,
        classes=CLASSES,
        budget=shown(p).budget,
        learning_rate=0.1,
        batch_size=5,
        seed=0,
        role="checker",
        model_source=lambda: deepcopy(p.model),
    )
    learn(checker, ground)
    return checker


@pytest.mark.parametrize("name", NAMES)
def test_a_checker_judges_alike_after_a_restart_and_changes_nothing(name: str, p: Problem) -> None:
    before = deepcopy(p.model.state_dict())
    one, other = ready(name, p), ready(name, p)
    for seq in range(3):
        judged(name, one, batch(p, seq), view(p, seq))
    restore(other, {key: value.clone() for key, value in state_of(one).items()})
    for seq in range(3, 6):
        mine, its = (judged(name, each, batch(p, seq), view(p, seq)) for each in (one, other))
        assert torch.equal(mine.examples, its.examples)
        assert torch.equal(mine.batch, its.batch)
    assert all(torch.equal(before[key], value) for key, value in p.model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in p.model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_trusted_examples_and_a_batch_of_one_are_judged(name: str, p: Problem) -> None:
    few = replace(
        view(p),
        validation_inputs=p.validation_inputs[:3],
        validation_labels=torch.zeros(3, dtype=torch.int64),
    )
    alone = Batch(0, p.inputs[:1], torch.tensor([2]))
    assert judged(name, ready(name, p), alone, few).examples.shape == (1,)


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(plugins.find("checkers", name), "score")])
def test_a_score_can_be_differentiated(name: str, p: Problem) -> None:
    checker = ready(name, p)
    assert isinstance(checker, Scoring)
    x = p.inputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(checker.score(x, p.labels, view(p)).sum(), x)
    assert slope.isfinite().all()
    assert slope.flatten(1).any(1).all()


def test_the_confidence_orders_as_the_largest_probability_does(p: Problem) -> None:
    with torch.no_grad():
        found = Confidence().score(p.inputs, p.labels, view(p))
        largest = p.model(p.inputs).softmax(1).max(1).values
    assert torch.allclose(found, torch.log(1 / largest - 1), atol=1e-5)


@pytest.mark.parametrize("layers", ["last", "all"])
def test_a_gradients_norm_is_that_of_autograd(layers: str, p: Problem) -> None:
    checker = plugins.make_gate(f"gradient-norm,layers={layers}").checker
    assert isinstance(checker, GradientNorm)
    own = p.model[-1] if isinstance(p.model, nn.Sequential) else p.model
    parameters = list((own if layers == "last" else p.model).parameters())
    expected = []
    for x, y in zip(p.inputs, p.labels, strict=True):
        loss = functional.cross_entropy(p.model(x[None]), y[None])
        gradient = torch.autograd.grad(loss, parameters)
        expected.append(torch.cat([part.flatten() for part in gradient]).norm())
    with torch.no_grad():
        assert torch.allclose(checker.score(p.inputs, p.labels, view(p)), torch.stack(expected), atol=1e-5)


def test_neighbours_are_those_of_a_loop(p: Problem) -> None:
    found = Knn(k=2, space="pixels").score(p.inputs, p.labels, view(p))
    for x, y, distance in zip(p.inputs, p.labels, found, strict=True):
        alike = p.validation_inputs[p.validation_labels == y]
        assert distance == pytest.approx(float((alike - x).flatten(1).norm(dim=1).sort().values[1]), abs=1e-4)


def test_a_trusted_example_is_no_neighbour_of_itself(p: Problem) -> None:
    same = Batch(0, p.validation_inputs, p.validation_labels)
    found = Knn(k=1, space="pixels").judge(same, view(p))
    assert found.examples.max() <= 0  # each has itself, at distance 0


def test_the_whitened_distance_is_that_of_mahalanobis(p: Problem) -> None:
    checker = Knn(k=1, floor=1e-2)
    found = checker.score(p.inputs, p.labels, view(p))
    reference, labels = p.validation_inputs[0::2].flatten(1).double(), p.validation_labels[0::2]
    covariance = torch.cov(reference.T, correction=0) + 1e-2 * torch.eye(reference.shape[1])
    for x, y, distance in zip(p.inputs.flatten(1).double(), p.labels, found, strict=True):
        away = reference[labels == y] - x
        expected = ((away @ torch.linalg.inv(covariance)) * away).sum(1).min().sqrt()
        assert float(distance) == pytest.approx(float(expected), rel=1e-3)
    other = checker.judge(Batch(0, p.validation_inputs[1::2], p.validation_labels[1::2]), view(p))
    assert float(other.batch) == pytest.approx(0.5, abs=1e-3)  # the half that is ranked, among itself


def test_the_course_of_a_loss_is_that_at_each_snapshot(p: Problem) -> None:
    checker = LossTrajectory(snapshots=2, every=1, k=1)
    models = []
    model = deepcopy(p.model)
    problem = replace(p, model=model)
    for step in range(3):
        models.append(deepcopy(model))
        found = checker.judge(batch(p), view(problem, step))
        with torch.no_grad():
            for value in model.parameters():
                value.mul_(0.5)

    def course(x: Tensor, y: Tensor) -> Tensor:
        losses = [functional.cross_entropy(one(x), y, reduction="none") for one in models]
        return torch.stack(losses, 1).log1p()

    with torch.no_grad():
        trusted, seen = course(p.validation_inputs, p.validation_labels), course(p.inputs, p.labels)
    within = torch.cdist(trusted, trusted).fill_diagonal_(9e9).min(1).values
    expected = among(within, torch.cdist(seen, trusted).min(1).values)
    assert torch.allclose(found.examples, expected.examples, atol=1e-3)


def shifted(p: Problem, by: float = 0.4) -> tuple[Batch, Tensor]:
    """Return a batch like Dval, of which every third example is moved along one direction."""
    moved = torch.arange(len(p.validation_labels)) % 3 == 0
    way = torch.rand(p.validation_inputs[:1].shape, generator=torch.Generator().manual_seed(3))
    noise = 0.01 * torch.randn(p.validation_inputs.shape, generator=torch.Generator().manual_seed(4))
    inputs = p.validation_inputs + noise + by * moved[:, None, None, None] * way
    return Batch(0, inputs, p.validation_labels), moved


@pytest.mark.parametrize("checker", [Spectral(window=0), Activation(window=0), Drift(window=0), Knn()])
def test_examples_that_are_moved_together_are_suspicious(checker: Checker, p: Problem) -> None:
    found, moved = shifted(p, 2.0)
    suspicion = checker.judge(found, view(p)).examples
    assert suspicion[moved].median() > suspicion[~moved].median()


def test_a_shift_raises_the_discrepancy_beyond_chance(p: Problem) -> None:
    clean = Drift(window=0).judge(shifted(p, 0.0)[0], view(p))
    assert float(clean.batch) < 0.9
    assert float(Drift(window=0).judge(shifted(p, 1.0)[0], view(p)).batch) > 0.999


def test_the_discrepancy_is_that_of_its_definition(p: Problem) -> None:
    seen = view(p)
    Drift(window=0).judge(batch(p), seen)
    x, z = p.inputs.flatten(1).double(), p.validation_inputs.flatten(1).double()
    squares = torch.cdist(z, z).square()
    width = squares[squares > 1e-9].median()

    def k(a: Tensor, b: Tensor) -> Tensor:
        return (-torch.cdist(a, b).square() / (2 * width)).exp().mean()

    expected = (k(x, x) + k(z, z) - 2 * k(x, z)).sqrt()
    assert seen.reports["mmd"] == pytest.approx(float(expected), rel=1e-3)


def test_the_spectral_direction_is_the_first_principal_one(p: Problem) -> None:
    from sklearn.decomposition import PCA  # a second of imports, for this test alone

    same = Batch(0, p.validation_inputs, torch.zeros_like(p.validation_labels))
    one_class = replace(view(p), validation_labels=torch.zeros_like(p.validation_labels))
    found = Spectral(window=0).judge(same, one_class)
    h = features(p.model, p.validation_inputs).double()
    scores = torch.as_tensor(PCA(1).fit_transform(h.numpy())[:, 0] ** 2)
    assert torch.equal(found.examples.argsort(), among(scores, scores).examples.argsort())


def test_the_clusters_are_those_of_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    draws = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randn(9, 4, generator=draws) + 5, torch.randn(20, 4, generator=draws)]).double()
    ours = trusted_first(rows, 10)
    theirs = KMeans(2, n_init=5, random_state=0).fit(rows.numpy()).cluster_centers_
    assert np.allclose(sorted(ours.tolist()), sorted(theirs.tolist()))
    assert ours[0].norm() < ours[1].norm()


def test_each_half_of_dval_is_scored_by_the_network_that_has_not_seen_it(p: Problem) -> None:
    checker = ready("reconstruction", p)
    assert isinstance(checker, Reconstruction)
    first, second = checker._networks
    z = p.validation_inputs
    with torch.no_grad():
        seen = [(z - network(z)).flatten(1).norm(dim=1) for network in (first, second)]
        x = [(p.inputs - network(p.inputs)).flatten(1).norm(dim=1) for network in (first, second)]
    trusted = torch.where(torch.arange(len(z)) % 2 == 0, seen[1], seen[0])
    expected = among(trusted, (x[0] + x[1]) / 2)
    assert torch.allclose(checker.judge(batch(p), view(p)).examples, expected.examples, atol=1e-5)


def test_a_loss_of_ones_own_may_be_negative(p: Problem) -> None:
    def lower(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, reduction="sum") - 10 * len(labels)

    seen = replace(view(p), loss=lower)
    for checker in (Loss(), LossTrajectory(), GradientNorm()):
        found = judged("own", checker, Batch(0, p.inputs, p.labels), seen)
        assert len(found.examples) == len(p.labels)


@pytest.mark.parametrize("layers", ["last", "all"])
def test_the_gradient_norm_of_another_loss_can_be_differentiated(layers: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    inputs, targets = torch.rand(3, 4, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64)
    seen = replace(view(CONV.build(torch.float32)), model=model, loss=mse)
    checker = GradientNorm(layers=layers)
    assert torch.autograd.gradcheck(lambda x: checker.score(x, targets, seen), inputs.requires_grad_())
