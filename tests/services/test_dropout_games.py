"""Games on a network with dropout: drawn from the seed, they end in the same bits wherever they are."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from midstream_server.runs.hosting.registry import Registry
from services.games import in_one_process, over_http
from services.tiny import TinyRun

pytestmark = pytest.mark.slow

MODEL = "digits-cnn,dropout=0.3"


@pytest.mark.parametrize("gradient", ["server", "own"])
def test_over_http_it_is_the_same_game(registry: Registry, tmp_path: Path, gradient: str) -> None:
    local = in_one_process(tmp_path / "local", "level-1", "level-1", model=MODEL)
    served = over_http(registry, "level-1", "level-1", gradient, model=MODEL)
    assert served["parameters_sha256"] == local["parameters_sha256"]


def test_the_seed_and_the_share_decide(tmp_path: Path) -> None:
    def end(name: str, **settings: object) -> str:
        fingerprint: str = in_one_process(tmp_path / name, "level-1", "none", **settings)["parameters_sha256"]
        return fingerprint

    first = end("first", model=MODEL)
    assert end("again", model=MODEL) == first
    others = [
        end("seed", model=MODEL, seed=1),
        end("share", model="digits-cnn,dropout=0.4"),
        end("none", model="digits-cnn"),
    ]
    assert len({first, *others}) == 4
    assert end("zero", model="digits-cnn,dropout=0") == others[-1]


def test_runs_that_train_at_the_same_time_do_not_share_their_numbers(server: httpx.Client) -> None:
    runs = [TinyRun(server, name=f"run-{number}", model=MODEL) for number in range(4)]
    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda run: run.play(0), runs))
    assert len({run.sha256() for run in runs}) == 1
