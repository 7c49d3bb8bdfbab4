"""Real processes that die between any two lasting effects, and whose network and files break."""

from pathlib import Path

import pytest
from benchmarks.chaos.damage import DAMAGES
from benchmarks.chaos.game import Game, compare, undisturbed
from benchmarks.chaos.pipeline import MOMENTS, RANDOM, TERMINATED, Death, Pipeline

pytestmark = pytest.mark.process

GAME = Game(
    {
        "dataset": "digits",
        "defender": "level-1",
        "train-size": "200",
        "validation-size": "50",
        "batch-size": "20",
        "epochs": "4",
    },
    attacker="level-1,beta=0.95",
)
WITHIN = 300.0


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(GAME, tmp_path_factory.mktemp("reference"))


def test_every_service_may_be_killed_at_every_moment(tmp_path: Path, reference: Path) -> None:
    deaths = [Death(service, moment, 2) for service, of in MOMENTS.items() for moment in of]
    pipeline = Pipeline(GAME, tmp_path, deaths)
    pipeline.play(WITHIN)
    assert pipeline.tally == {f"{death.service}: {death.moment}": 1 for death in deaths}
    compare(pipeline.run, reference)


def test_connections_may_break_and_files_be_damaged(tmp_path: Path, reference: Path) -> None:
    deaths = [Death("server", "recorded", 8, damage) for damage in DAMAGES]
    deaths += [Death(service, moment) for service in MOMENTS for moment in (TERMINATED, RANDOM)]
    pipeline = Pipeline(GAME, tmp_path, deaths, faulty=0.5, seed=1)
    pipeline.play(WITHIN)
    assert {name for name in pipeline.tally if name.startswith("files")} == {f"files: {d}" for d in DAMAGES}
    assert sum(count for name, count in pipeline.tally.items() if name.startswith("network")) > 5
    said = (tmp_path / "server.log").read_text()
    assert "checkpoint.safetensors is damaged" in said
    assert "checkpoint.safetensors.damaged" in said
    compare(pipeline.run, reference)
