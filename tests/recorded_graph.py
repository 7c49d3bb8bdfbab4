"""Stands in for a CUDA graph on a CPU: it records the operations of a function once, and repeats them.

As in a CUDA graph, no Python runs in a replay: numbers of the host, shapes and choices stay those of the
recording, and every operation reads and writes the memory that it had then. What a capture refuses raises an
error: an operation whose shape depends on values, reading a value, and copying data of the host.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from midstream.mathematics.graphs.program import WARM_UP, Body

_REFUSED = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::item",
    "aten::lift_fresh",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_dim",
    "aten::_unique2",
    "aten::pin_memory",
    "aten::_pin_memory",
}
"""Operations that read a value on the host, or copy data of the host."""

recorded: list["RecordedGraph"] = []
"""All graphs since `replaying` began."""


class RecordedGraph:
    """Takes the place of `midstream.mathematics.graphs.program.CudaGraph`."""

    def __init__(self, body: Body, inputs: Sequence[Tensor]) -> None:
        self.replays = 0
        self._inputs = [one.clone() for one in inputs]
        for _ in range(WARM_UP):
            body(*self._inputs)
        with _Recording() as self._recording:
            self._outputs = body(*self._inputs)
        recorded.append(self)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self.replays += 1
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._recording.repeat()
        return tuple(one.clone() for one in self._outputs)


class _Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        name = function.name().partition(".")[0]
        if name in _REFUSED or (name == "aten::index" and _masked(args[1])):
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
        found = function(*args, **(kwargs or {}))
        outputs = [one for one in tree_iter(found) if isinstance(one, Tensor)]
        self._calls.append((function, args, kwargs or {}, outputs))
        return found

    def repeat(self) -> None:
        with torch.no_grad():
            for function, args, kwargs, outputs in self._calls:
                again = [one for one in tree_iter(function(*args, **kwargs)) if isinstance(one, Tensor)]
                for own, value in zip(outputs, again, strict=True):
                    if own.data_ptr() != value.data_ptr():  # else it is a view, or was changed in place
                        own.copy_(value)


def _masked(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


@contextmanager
def replaying(monkeypatch: Any) -> Iterator[list[RecordedGraph]]:
    """Have the CPU capture and replay as a GPU does, with the optimizers of a GPU."""
    monkeypatch.setattr("midstream.mathematics.graphs.program.CudaGraph", RecordedGraph)
    monkeypatch.setattr("midstream.mathematics.graphs.program._DEVICES", ("cpu",))
    monkeypatch.setattr("midstream.run.optimizing.one_call.GATED", ("cpu",))
    recorded.clear()
    yield recorded
