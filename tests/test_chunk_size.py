"""`--chunk-size`: one number for both sides of a game, recorded with the run and used again on resume."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import run
from torch import Tensor, nn

from midstream import hessian_vector_product, mixed_derivative, validation_gradient
from midstream.mathematics.derivatives import gradients, hessian
from midstream.mathematics.derivatives.chunk_size import choose_chunk_size, chunk_size_of
from midstream.run.chunk_size import chunk_size_here
from midstream_proxy.attack import AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.recovery.provenance import Provenance
from midstream_server.runs.recovery.resuming import environment_compared


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list to which every chunk that is differentiated adds its size."""
    found: list[int] = []
    split = gradients.chunks

    def counted(*arguments: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in split(*arguments):
            found.append(len(inputs))
            yield inputs, labels

    monkeypatch.setattr(gradients, "chunks", counted)
    monkeypatch.setattr(hessian, "chunks", counted)
    return found


def test_derivatives_take_the_number_chosen_for_their_model(sizes: list[int]) -> None:
    model, inputs, labels = nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.rand(10, 3), torch.arange(10) % 2
    choose_chunk_size(model, 4)
    v = validation_gradient(model, inputs, labels)
    mixed_derivative(model, inputs, labels, v)
    hessian_vector_product(model, inputs, labels, v)
    assert sizes == 3 * [4, 4, 2]
    validation_gradient(model, inputs, labels, chunk_size=6)
    assert sizes[9:] == [6, 4]
    choose_chunk_size(model, None)
    validation_gradient(model, inputs, labels)
    assert sizes[11:] == [10]


def test_both_sides_take_the_number_of_the_run(sizes: list[int]) -> None:
    made = run("level-1", chunk_size=3)
    attacked = AttackedRun(LocalGame(made), AttackSettings("level-1", gradient="own", allowed=None))
    attacked._follow(0)
    sizes.clear()
    own = attacked._validation_gradient()
    count = len(sizes)
    assert set(sizes[:-1]) == {3}
    published = made.validation_gradient()
    assert sizes[count:] == sizes[:count]
    assert all(torch.equal(own[name], published[name]) for name in published)
    assert chunk_size_of(made.another_model(), None) == chunk_size_of(attacked._new_model(), None) == 3


def test_a_resumed_run_takes_the_number_that_it_was_started_with(tmp_path: Path) -> None:
    begun = Provenance.of(run("none"))
    assert begun.environment["chunk_size"] is None  # on a CPU it does not depend on the machine
    chosen = replace(begun, environment=begun.environment | {"chunk_size": 7})
    resumed = run("none")
    assert environment_compared(tmp_path, chosen, resumed, anyway=False) == chosen
    assert resumed.chunk_size == chunk_size_of(resumed.model, None) == resumed.description().chunk_size == 7


def test_a_machine_without_cuda_chooses_nothing() -> None:
    model, inputs = nn.Linear(3, 2), torch.rand(300, 3)
    assert chunk_size_here(model, inputs, torch.zeros(300, dtype=torch.int64)) is None
