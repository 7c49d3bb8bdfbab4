"""Functions that are captured once and replayed: the same bits as calling them, or they are called."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
import torch
from device_games import Game, played, resumed
from torch import Tensor, nn

from midstream import Batch, plugins
from midstream.mathematics.graphs.capturing import switch
from midstream.mathematics.graphs.program import Body, Program, Programs, current
from midstream.mathematics.inputs.pixels import pixels

CPU = torch.device("cpu")
captured: list["Graph"] = []


class Graph:
    """Stands in for a CUDA graph: it replays the function as it was captured, on tensors of its own."""

    def __init__(self, body: Body, inputs: Sequence[Tensor]) -> None:
        self.body, self.inputs, self.replays = body, [one.clone() for one in inputs], 0
        captured.append(self)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self.replays += 1
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        return tuple(one.clone() for one in self.body(*self.inputs))


@pytest.fixture(autouse=True)
def replays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the CPU replay functions."""
    monkeypatch.setattr("midstream.mathematics.graphs.program.CudaGraph", Graph)
    monkeypatch.setattr("midstream.mathematics.graphs.program._DEVICES", ("cpu",))
    captured.clear()
    switch(True)
    yield
    switch(True)


def double(x: Tensor) -> tuple[Tensor]:
    return (2 * x,)


def test_a_function_is_captured_at_its_second_call_and_replayed_from_then_on() -> None:
    program, x = Program(double), torch.rand(3)
    for calls in range(5):
        assert torch.equal(program(x + calls)[0], 2 * (x + calls))
        assert len(captured) == (calls > 0)
    assert captured[0].replays == 4  # one of them to compare


def test_a_function_is_captured_on_the_device_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current(torch.device("cuda", 1)).idx == 1  # type: ignore[attr-defined]
    devices: list[torch.device] = []

    def noted(device: torch.device) -> AbstractContextManager[object]:
        devices.append(device)
        return current(device)

    monkeypatch.setattr("midstream.mathematics.graphs.program.current", noted)
    program = Program(double)
    for _ in range(3):
        program(torch.rand(3))
    assert devices == [CPU]


def test_nothing_is_captured_unless_that_is_switched_on() -> None:
    switch(False)
    program = Program(double)
    for _ in range(3):
        program(torch.rand(3))
    assert not captured


def test_each_shape_has_its_graph_and_there_are_two_at_most() -> None:
    program = Program(double)
    for size in (3, 4, 5) * 3:
        assert torch.equal(program(torch.ones(size))[0], torch.full((size,), 2.0))
    assert len(captured) == 2


def test_a_function_whose_replay_has_other_bits_is_called(caplog: pytest.LogCaptureFixture) -> None:
    drawn = Program(lambda x: (x * torch.rand(3),))
    for _ in range(4):
        drawn(torch.ones(3))
    assert [graph.replays for graph in captured] == [1]
    assert "other bits than the function itself" in caplog.text


def test_a_function_that_cannot_be_captured_is_called(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> Graph:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("midstream.mathematics.graphs.program.CudaGraph", refuse)
    program = Program(double)
    for _ in range(4):
        assert torch.equal(program(torch.ones(2))[0], torch.full((2,), 2.0))
    assert caplog.text.count("cannot be captured") == 1


def test_a_function_is_captured_anew_when_what_it_reads_moves() -> None:
    layer = nn.Linear(2, 2, bias=False)
    program = Program(lambda x: (x @ layer.weight.detach(),), reads=layer.parameters)
    for _ in range(3):
        program(torch.ones(2))
    for times in range(1, 4):  # more often than a program may have graphs
        layer.weight = nn.Parameter(times * torch.eye(2))
        for _ in range(3):
            assert torch.equal(program(torch.ones(2))[0], torch.full((2,), float(times)))
        assert len(captured) == 1 + times
        assert program.graphs == 1


def test_functions_given_other_settings_are_others_and_there_are_not_too_many() -> None:
    programs, x = Programs(), torch.ones(2)
    for size in [*range(40)] * 3:
        (found,) = programs("scaled", lambda x, size=size: (size * x,), x, given=size)
        assert torch.equal(found, size * x)
    assert len(programs.all()) == len(captured) == 32


@pytest.mark.parametrize("capture", [False, True])
def test_a_player_that_is_given_another_budget_keeps_to_it(capture: bool) -> None:
    switch(capture)
    game = Game(CPU)
    batch, view = game.batches.batch(0), game.run.view()
    moving = Batch(0, pixels(batch.inputs), batch.labels)
    for epsilon in [0.5, 0.25] * 3:
        budget = replace(view.budget, epsilon=epsilon)
        for player in (plugins.make("attackers", "level-1,beta=0"), game.run.defender):
            moved = player.perturb(moving, replace(view, budget=budget))
            assert float(budget.size(moved).max()) == pytest.approx(epsilon)
    assert bool(captured) == capture


PAIRS = [
    ("level-1", "level-1"),
    ("level-1,at=memory", "none"),
    ("level-2-closed-form", "level-2-closed-form"),
    ("influence,max_iterations=2", "level-1"),
    ("conversion,target=3", "level-1+cutmix"),
]


@pytest.mark.parametrize(
    ("attacker", "defender"), [PAIRS[0], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS[1:])]
)
def test_a_game_that_is_replayed_ends_in_the_same_bits(attacker: str, defender: str) -> None:
    called = played(CPU, attacker, defender, steps=6)
    assert not captured
    assert played(CPU, attacker, defender, steps=6, capture=True) == called
    assert sum(graph.replays for graph in captured) > len(captured)


def test_every_part_of_a_level_1_step_is_captured() -> None:
    switch(True)
    game = Game(CPU)
    for _ in range(3):
        game.step()
    assert len(captured) == 3  # v, the attack, the defence; the step had no gradients to replace at first
    for _ in range(3):
        game.step()
    assert len(captured) >= 4


def test_a_game_that_goes_on_ends_in_the_same_bits() -> None:
    one, other = resumed(CPU)
    assert one == other
