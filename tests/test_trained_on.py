"""What a defender may have its model trained on, held to the rules before anything of the model changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from services import tiny
from tiny_training import Idle, batch, equal, run, state
from torch import Tensor, nn

from midstream import Batch, View, plugins, validation_gradient
from midstream.mathematics.seeds import derive, permutation
from midstream.players.referee import PlayerError
from midstream.run.training import DivergedError

DROPPING = "digits-cnn,dropout=0.5"


@dataclass
class Augments(Idle):
    answer: Callable[[Batch], Any]

    def augment(self, batch: Batch, view: View) -> Any:  # noqa: ARG002
        return self.answer(batch)


@dataclass
class Rehearses(Idle):
    answer: Callable[[Batch], Any]

    def rehearse(self, batch: Batch, view: View) -> Any:  # noqa: ARG002
        return self.answer(batch)


@dataclass
class AugmentsRehearsal(Rehearses):
    then: Callable[[Batch], Any]

    def augment_rehearsal(self, batch: Batch, view: View) -> Any:  # noqa: ARG002
        return self.then(batch)


def shares(labels: Tensor) -> Tensor:
    return nn.functional.one_hot(labels, 10).float()


def with_pixel(batch: Batch, value: float) -> Batch:
    batch.inputs[0, 0, 0, 0] = value
    return batch


BROKEN: list[tuple[str, Callable[[Batch], Any]]] = [
    ("a Tensor, not a Batch,", lambda b: b.inputs),
    (
        "a Batch whose inputs or labels are not tensors,",
        lambda b: Batch(0, b.inputs, [3]),  # type: ignore[arg-type]
    ),
    (r"inputs of shape \(10, 64\), not \(10, 1, 8, 8\),", lambda b: replace(b, inputs=b.inputs.flatten(1))),
    ("a NaN, outside of", lambda b: with_pixel(b, float("nan"))),
    (r"pixels from 0 to 1.5, outside of \[0, 1\],", lambda b: with_pixel(b, 1.5)),
    ("pixels from 0 to inf", lambda b: with_pixel(b, float("inf"))),
    ("labels from 10 to 10 of 10 classes", lambda b: replace(b, labels=torch.full((10,), 10))),
    ("labels from -1 to -1 of 10 classes", lambda b: replace(b, labels=torch.full((10,), -1))),
    ("labels of torch.int32", lambda b: replace(b, labels=b.labels.int())),
    (r"shape \(10, 9\), not", lambda b: replace(b, labels=shares(b.labels)[:, :9])),
    ("do not sum to 1", lambda b: replace(b, labels=shares(b.labels) / 2)),
    ("do not sum to 1", lambda b: replace(b, labels=shares(b.labels) * torch.nan)),
    ("below 0", lambda b: replace(b, labels=1.5 * shares(b.labels) - 0.05)),
    (r"failed at batch 0: ValueError\(.*weight.*\) \(test_trained_on.py, line", lambda _: int("weight")),
]


@pytest.mark.parametrize(("words", "answer"), BROKEN)
def test_what_cannot_be_trained_on_is_refused_and_changes_nothing(
    words: str, answer: Callable[[Batch], Any]
) -> None:
    players = {
        "augment": Augments(answer),
        "rehearse": Rehearses(lambda b: [b, answer(b)]),
        "augment_rehearsal": AugmentsRehearsal(lambda b: [b], answer),
    }
    for hook, player in players.items():
        made = run(player)
        before = state(made)
        with pytest.raises(PlayerError, match=f"{hook} of defender 'none' .*{words}"):
            made.train(batch())
        assert made.step == 0
        assert equal(state(made), before)


def test_without_a_pixel_range_pixels_are_finite_at_least() -> None:
    run(Augments(lambda b: with_pixel(b, 1.5)), pixel_range="unbounded").train(batch())
    with pytest.raises(PlayerError, match="pixels from 0 to inf"):
        run(Augments(lambda b: with_pixel(b, float("inf"))), pixel_range="unbounded").train(batch())


def test_rehearsals_are_batches_in_a_row() -> None:
    with pytest.raises(PlayerError, match="returned a Batch at batch 0, not batches"):
        run(Rehearses(lambda b: b)).train(batch())
    with pytest.raises(PlayerError, match=r"inputs of shape \(0, 1, 8, 8\), not \(1, 1, 8, 8\)"):
        run(Rehearses(lambda b: [Batch(0, b.inputs[:0], b.labels[:0])])).train(batch())


def test_a_batch_that_is_given_out_is_a_copy() -> None:
    def spoil(given: Batch) -> Batch:
        given.inputs.zero_()
        given.labels.zero_()
        return given

    plain, spoiling = run("none"), run(AugmentsRehearsal(lambda b: [spoil(b)][:0], spoil))
    assert plain.train(batch()).loss == spoiling.train(batch()).loss
    assert equal(state(plain), state(spoiling))


def test_the_step_is_taken_on_what_was_augmented_and_the_correction_is_the_defenders() -> None:
    flipped = replace(batch(), inputs=1 - batch().inputs, labels=batch().labels.roll(1))
    augmenting, plain = run(Augments(lambda _: flipped)), run("none")
    step = augmenting.train(batch())
    assert step.correction == 0.0
    assert torch.equal(step.defended, batch().inputs)
    assert plain.train(flipped).loss == step.loss
    assert equal(state(plain), state(augmenting))


def test_shares_of_one_class_are_its_index() -> None:
    sharing, plain = run(Augments(lambda b: replace(b, labels=shares(b.labels)))), run("none")
    assert sharing.train(batch()).loss == pytest.approx(plain.train(batch()).loss)
    for name, value in sharing.parameters().items():
        assert torch.allclose(value, plain.parameters()[name], atol=1e-6)


def test_rehearsed_steps_belong_to_one_version_and_each_drops_nodes_of_its_own() -> None:
    twice = [replace(batch(1)), replace(batch(1))]
    made = run(Rehearses(lambda _: twice), model=DROPPING)
    by_hand = run("none", model=DROPPING)
    before = made.validation_gradient()
    step = made.train(batch())
    assert (made.step, step.step) == (1, 1)
    optimizer = torch.optim.Adam(by_hand.model.parameters(), lr=0.0008)
    by_hand.model.train()
    for one, purpose in zip([batch(), *twice], [("step",), ("rehearsal", 0), ("rehearsal", 1)], strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(0, 0, *purpose))
            loss = nn.functional.cross_entropy(by_hand.model(one.inputs), one.labels, reduction="sum")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert equal(by_hand.parameters(), made.parameters())
    assert not made.model.training
    after = made.validation_gradient()
    assert not equal(before, after)
    assert equal(after, validation_gradient(made.model, *made.validation_here))


def test_a_rehearsal_that_diverges_leaves_the_step_before_it_undone() -> None:
    made = run(Rehearses(lambda _: [batch(1)] * 9), optimizer="sgd", learning_rate=1e5)
    before = state(made)
    with pytest.raises(DivergedError, match=r"the training loss of batch 0, rehearsal \d, is (inf|nan)"):
        made.train(batch())
    assert made.step == 0
    assert equal(state(made), before)


def test_what_a_defender_is_told_of_the_run() -> None:
    view = run("none").view()
    assert (view.classes, view.steps_per_epoch, view.batch_size) == (10, 3, 10)


def test_training_on_the_validation_set_is_a_loop_written_by_hand() -> None:
    made, by_hand = run("train-on-validation"), run("none")
    optimizer = torch.optim.Adam(by_hand.model.parameters(), lr=0.0008)

    def descend(inputs: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(by_hand.model(inputs), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    validation = tiny.split().validation
    visited: list[Sequence[int]] = []
    for seq in range(tiny.STEPS):
        made.train(batch(seq))
        descend(batch(seq).inputs, batch(seq).labels)
        if seq in (2, 5):  # three batches an epoch
            order = permutation(40, derive(0, "rehearse"), seq, "validation")
            visited.append(order.tolist())
            for rows in torch.split(torch.from_numpy(order), 10):
                descend(validation.pixels()[rows], validation.labels[rows])
    assert made.step == tiny.STEPS
    assert equal(made.parameters(), by_hand.parameters())
    assert visited[0] != visited[1]
    assert sorted(visited[0]) == sorted(visited[1]) == list(range(40))


def test_the_hooks_of_a_defender_have_numbers_apart_from_its_moves() -> None:
    drawn: list[float] = []

    class Draws(Idle):
        def draw(self, batch: Batch, view: View) -> Batch:
            drawn.append(torch.rand((), generator=view.generator(batch.seq)).item())
            return batch

        def perturb(self, batch: Batch, view: View) -> Tensor:
            return super().perturb(self.draw(batch, view), view)

        augment = augment_rehearsal = draw

        def rehearse(self, batch: Batch, view: View) -> list[Batch]:
            return [self.draw(batch, view)] * 2

    run(Draws()).train(batch())
    once = list(drawn)
    assert len(set(once)) == len(once) == 5
    run(Draws()).train(batch())
    assert drawn[5:] == once


def test_every_installed_defender_that_trains_on_more_is_deterministic() -> None:
    for text in ("cutmix", "train-on-validation", "cutmix,on=both+train-on-validation"):
        ends = []
        for _ in range(2):
            made = run(text)
            for seq in range(3):
                made.train(batch(seq))
            ends.append(state(made))
        assert equal(*ends)
        plain = run("none")
        for seq in range(3):
            plain.train(batch(seq))
        assert not equal(plain.parameters(), made.parameters())
    assert plugins.make("defenders", "cutmix").on == "training"
