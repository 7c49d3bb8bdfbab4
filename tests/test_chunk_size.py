"""`--chunk-size`: one number for both sides of a game, recorded with the run and used again on resume."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import run
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from midstream import hessian_vector_product, mixed_derivative, validation_gradient
from midstream.mathematics.derivatives import gradients, parts
from midstream.mathematics.derivatives.chunk_size import choose_chunk_size, chunk_size_of
from midstream.run.chunk_size import chunk_size_here
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.recovery.provenance import Provenance
from midstream_server.runs.recovery.resuming import environment_compared


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list to which every chunk that is differentiated adds its size."""
    found: list[int] = []
    split = parts.chunks

    def counted(*arguments: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in split(*arguments):
            found.append(len(inputs))
            yield inputs, labels

    for module in (parts, gradients):
        monkeypatch.setattr(module, "chunks", counted)
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
    assert chunk_size_of(made.another_model(), None) == chunk_size_of(attacked.another_model(), None) == 3


def test_a_resumed_run_takes_the_number_that_it_was_started_with(tmp_path: Path) -> None:
    begun = Provenance.of(run("none"))
    assert begun.environment["chunk_size"] is None  # on a CPU it does not depend on the machine
    chosen = replace(begun, environment=begun.environment | {"chunk_size": 7})
    resumed = run("none")
    assert environment_compared(tmp_path, chosen, resumed, anyway=False) == chosen
    assert resumed.chunk_size == chunk_size_of(resumed.model, None) == resumed.description().chunk_size == 7


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows how many bytes the results of operations hold at a time, beside the set that they work on."""

    def __init__(self, *held: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._set = {one.untyped_storage().data_ptr() for one in held}
        self._held: dict[Any, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = function(*args, **(kwargs or {}))
        for one in tree_iter(found):
            if isinstance(one, Tensor):
                storage = one.untyped_storage()
                if storage.data_ptr() in self._set:
                    continue
                self._held[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        self._held = {held: size for held, size in self._held.items() if not held.expired()}
        self.bytes = max(self.bytes, sum(self._held.values()))
        return found


@pytest.mark.parametrize("layered", [True, False])
def test_memory_stays_flat_in_the_validation_set(layered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not layered:
        monkeypatch.setattr(gradients, "stack_of", lambda *_: None)
    model, peaks = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)), []
    for size in (1000, 5000):
        inputs = torch.zeros((size, 64), dtype=torch.uint8)
        labels = torch.zeros(size, dtype=torch.int64)
        with Peak(inputs, labels) as peak:
            v = validation_gradient(model, inputs, labels)
            hessian_vector_product(model, inputs, labels, v)
        peaks.append(peak.bytes)
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[0] < 4 * 1000 * 64 * 4  # of single precision


def test_a_machine_without_cuda_chooses_nothing() -> None:
    model, inputs = nn.Linear(3, 2), torch.rand(300, 3)
    assert chunk_size_here(model, inputs, torch.zeros(300, dtype=torch.int64)) is None
