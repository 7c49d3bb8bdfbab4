"""A run records how many ranks it has and how they add up, and goes on with the same."""

import json
from pathlib import Path
from typing import Any

import pytest

import midstream
from midstream.run.ranks.here import Reduce, lead
from midstream.storage import faults

SETTINGS: dict[str, Any] = {
    **{"train_size": 20, "validation_size": 20, "batch_size": 10, "epochs": 1, "run": "game"},
    **{"attacker": "none", "threads": 1, "device": "cpu"},
}


class Killed(BaseException):
    """Stands for the end of the process."""


def play(out: Path, world: int, reduce: Reduce) -> midstream.GameResult:
    """Play as rank 0 of this many; no derivative is shared, which only the bits would show."""
    lead(None if world == 1 else lambda *_: None, world=world, reduce=reduce)
    try:
        return midstream.play(**SETTINGS, out=out, follow=lambda *_: None)
    finally:
        lead(None)


def begun(out: Path, world: int, reduce: Reduce) -> None:
    """Begin a game that dies after its first step."""

    def reached(moment: str) -> None:
        if moment == "recorded":
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "reached", reached)
        with pytest.raises(Killed):
            play(out, world, reduce)


def test_other_numbers_of_ranks_do_not_go_on(tmp_path: Path) -> None:
    begun(tmp_path, 2, "sum")
    others: list[tuple[int, Reduce]] = [(1, "sum"), (3, "sum"), (2, "exact")]
    for world, reduce in others:
        here = 1 if reduce == "exact" else world
        with pytest.raises(midstream.MidstreamError, match=f"ranks 2, here {here}"):
            play(tmp_path, world, reduce)
    assert play(tmp_path, 2, "sum").steps == 2


def test_exact_ranks_go_on_in_any_number(tmp_path: Path) -> None:
    begun(tmp_path, 2, "exact")
    recorded = json.loads((tmp_path / "game" / "environment.json").read_text())
    assert (recorded["ranks"], recorded["reduce"]) == (2, "exact")
    assert play(tmp_path, 1, "sum").steps == 2
