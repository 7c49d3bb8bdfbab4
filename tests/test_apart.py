"""Work of a benchmark in a plain process of its own."""

import os
from collections.abc import Callable

import pytest
import torch
from benchmarks.apart import apart

pytestmark = pytest.mark.process


class Fails:
    """Work that fails where it was made."""

    def __init__(self, device: torch.device) -> None:
        self._made_in = os.environ["MADE_IN"] == str(os.getpid())
        assert device == torch.device("cpu")

    def __call__(self) -> None:
        assert not self._made_in
        sum(range(100_000))


def test_the_work_is_done_elsewhere_and_timed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MADE_IN", str(os.getpid()))
    make: Callable[[torch.device], Callable[[], object]] = Fails
    with pytest.raises(AssertionError):
        make(torch.device("cpu"))()
    with apart(make, torch.device("cpu")) as work:
        assert 0 < work() < 60
