"""Several ranks compute the derivatives of one process: to the bit, or up to the order of sums."""

import os
import subprocess
import sys
from threading import Event

import pytest
import torch
from ranks_in_threads import Ranks, ranks_in_threads
from torch import Tensor, nn

from midstream.mathematics.derivatives.chunk_size import choose_chunk_size
from midstream.mathematics.derivatives.gradients import mixed_derivative, validation_gradient
from midstream.mathematics.graphs.program import Programs
from midstream.players.interface import Batch
from midstream.run.optimizing.descent import Descent
from midstream.run.ranks import leader as leading
from midstream.run.ranks import work
from midstream.run.ranks.errors import RankError
from midstream.run.ranks.watching import Watch
from midstream.run.ranks.work import Description

STACK = Description("digits-cnn", (1, 8, 8), 10, "refuse", 8, 3, "reverse-over-forward")
RESIDUAL = Description("resnet18,norm=group,width=4", (3, 8, 8), 10, "refuse", 8, 3, "reverse-over-forward")
BATCH_NORM = Description("resnet18,width=4", (3, 8, 8), 10, "training", 8, 3, "double-backward")
DROPOUT = Description("digits-cnn,dropout=0.5", (1, 8, 8), 10, "refuse", 8, 3, "reverse-over-forward")
MODELS = {"stack": STACK, "residual": RESIDUAL, "batch norm": BATCH_NORM, "dropout": DROPOUT}
CHUNK = 5

Span = tuple[int, int]
Examples = tuple[Tensor, Tensor]


def examples(shape: tuple[int, ...], count: int) -> Examples:
    drawn = torch.Generator().manual_seed(count)
    inputs = torch.randint(0, 256, (count, *shape), generator=drawn, dtype=torch.uint8)
    return inputs, torch.randint(0, 10, (count,), generator=drawn)


def computed(model: nn.Module, validation: Examples, batch: Examples) -> list[Tensor]:
    """Return v, B_x v, and the loss and the gradients of a step."""
    choose_chunk_size(model, CHUNK)
    v = validation_gradient(model, *validation)
    inputs, labels = batch[0] / 255, batch[1]
    along = mixed_derivative(model, inputs, labels, v)
    descent = Descent(model.train())
    loss, gradients = descent.seeded_gradients(Batch(0, inputs, labels), Programs(), 5, "step")
    return [*v.values(), along, loss, *(one for one in gradients if one is not None)]


def both(ranks: Ranks, description: Description) -> tuple[list[Tensor], list[Tensor]]:
    validation, batch = examples(description.input_shape, 15), examples(description.input_shape, 10)
    shared, alone = ranks.shared(description, validation)
    return computed(shared, validation, batch), computed(alone, validation, batch)


def equal(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def layout(tensor: Tensor) -> list[int]:
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


@pytest.mark.parametrize("name", MODELS)
def test_exact_ranks_compute_the_bits_of_one_process(name: str) -> None:
    with ranks_in_threads(3 if name == "stack" else 2, exact=True) as ranks:
        found, wanted = both(ranks, MODELS[name])
    assert equal(found, wanted)
    assert [layout(one) for one in found] == [layout(one) for one in wanted]
    assert not ranks.said


@pytest.mark.parametrize("name", ["stack", "residual", "dropout"])
def test_other_ranks_differ_in_the_order_of_sums_only(name: str) -> None:
    with ranks_in_threads() as ranks:
        found, wanted = both(ranks, MODELS[name])
        again, _ = both(ranks, MODELS[name])
    largest = max(float(one.abs().max()) for one in wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * largest)
    assert equal(found, again)
    assert not equal(found, wanted)
    assert not ranks.said


def test_each_rank_computes_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, sums, rows, step = [], work.sums, work.rows, work.step

    def noted(task: str, function: object) -> object:
        def part(model: object, inputs: Tensor, labels: Tensor, *others: object, **options: object) -> object:
            span = next(one for one in others if isinstance(one, tuple))
            taken.append((task, span))
            return function(model, inputs, labels, *others, **options)  # type: ignore[operator]

        return part

    for name, function in (("sums", sums), ("rows", rows), ("step", step)):
        monkeypatch.setattr(work, name, noted(name, function))
    with ranks_in_threads() as ranks:
        both(ranks, STACK)
    wanted = [("rows", (0, 5)), ("rows", (5, 10)), ("step", (0, 5)), ("step", (5, 10))]
    assert sorted(taken) == [*wanted, ("sums", (0, 8)), ("sums", (8, 15))]


def test_what_a_rank_cannot_compute_rank_0_computes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = work.sums

    def failing(
        model: nn.Module, inputs: Tensor, labels: Tensor, span: tuple[int, int], **options: int
    ) -> object:
        if span[0]:
            raise MemoryError("full")
        return sums(model, inputs, labels, span, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "sums", failing)
    with ranks_in_threads(exact=True) as ranks:
        assert equal(*both(ranks, STACK))
    assert ranks.said == ["rank 1 failed at its part, which rank 0 computes alone: MemoryError('full')"]


def test_an_error_of_rank_0_is_that_of_one_process() -> None:
    validation = examples(STACK.input_shape, 8)
    with ranks_in_threads() as ranks:
        shared, _ = ranks.shared(STACK, validation)
        v = validation_gradient(shared, *validation)
        wrong = validation[0] / 255, torch.full((8,), 10)  # there is no such class
        with pytest.raises(Exception, match="out of bounds") as found:
            mixed_derivative(shared, *wrong, v)
        assert not isinstance(found.value, RankError)
        again = validation_gradient(shared, *validation)
    assert all(torch.equal(v[name], again[name]) for name in v)


def test_a_rank_with_other_parameters_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "CHECK_EVERY", 1)
    validation = examples(STACK.input_shape, 8)
    with ranks_in_threads() as ranks:
        shared, _ = ranks.shared(STACK, validation)
        validation_gradient(shared, *validation)
        theirs = ranks.followers[0]._models[0].model
        received = next(iter(theirs.parameters()))
        keep = received.copy_

        def damaged(value: Tensor) -> Tensor:
            return keep(value + 1e-6)

        monkeypatch.setattr(received, "copy_", damaged)
        with torch.no_grad():
            next(iter(shared.parameters())).add_(1)
        with pytest.raises(RankError, match="parameters of rank 1 are not those of rank 0"):
            validation_gradient(shared, *validation)
        assert len(ranks.left) == 1


def test_parameters_travel_only_if_they_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, validation = [], examples(STACK.input_shape, 8)
    with ranks_in_threads() as ranks:
        shared, _ = ranks.shared(STACK, validation)
        send = ranks.leader.wire.tensor

        def noted(source: int, tensor: Tensor) -> None:
            sizes.append(tensor.numel() * tensor.element_size() * (source == 0))
            send(source, tensor)

        monkeypatch.setattr(ranks.leader.wire, "tensor", noted)
        counted = []
        for change in (0, 0, 1):
            with torch.no_grad():
                next(iter(shared.parameters())).add_(change)
            sizes.clear()
            validation_gradient(shared, *validation)
            counted.append(sum(sizes))
    whole = 4 * sum(one.numel() for one in shared.parameters())
    dval = sum(one.numel() * one.element_size() for one in validation)
    assert counted[1] == whole + 4  # the sum of rank 0
    assert counted[2] == counted[1] + whole
    assert counted[0] == counted[2] + dval


@pytest.mark.process
def test_the_end_of_a_process_is_noticed() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        noticed, ended = Event(), []

        def gone(rank: int) -> None:
            ended.append(rank)
            noticed.set()

        watch = Watch({0: os.getpid(), 3: process.pid}, gone)
        process.kill()
        assert noticed.wait(10)
        watch.close()
    assert ended == [3]
