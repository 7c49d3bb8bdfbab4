"""Games of several ranks, as `torchrun` starts them: local, over HTTP, and after the death of a rank."""

import json
import re
import signal
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from midstream.command.main import cli
from services.commands import Program
from services.games import in_one_process
from services.loopback import unused_url
from services.tiny import TinyRun
from services.torchrun import ranks
from services.waiting import until

pytestmark = pytest.mark.process

LOCAL = [
    *("play", "--transport", "local", "--device", "cpu", "--threads", "1", "--json", "--out", "runs"),
    *("--dataset", "digits", "--run", "game", "--defender", "level-1"),
    *("--train-size", "200", "--validation-size", "200", "--batch-size", "50", "--max-steps", "20"),
    *("--chunk-size", "20"),
]


def ended(found: list[Program]) -> None:
    for rank in found:
        assert rank.end() == 0, rank.err


def test_a_rank_is_killed_and_the_same_command_ends_in_the_bits_of_one_process(tmp_path: Path) -> None:
    alone = CliRunner().invoke(cli, [*LOCAL, "--out", str(tmp_path / "alone")])
    wanted = json.loads(alone.stdout)["parameters_sha256"]
    words = [*LOCAL, "--reduce", "exact"]
    metrics = tmp_path / "runs" / "game" / "metrics.jsonl"
    with ranks(tmp_path, *words) as found:
        until(lambda: metrics.exists() and metrics.stat().st_size > 0, "the first step")
        found[1].process.kill()
        assert found[0].end() == 1
        assert re.search(r"rank 1 \(process \d+\) has ended, so rank 0 ends too", found[0].err)
    with ranks(tmp_path, *words) as found:
        ended(found)
        outcome = json.loads(found[0].out)
        assert not found[1].out
    assert outcome["parameters_sha256"] == wanted
    environment = json.loads((metrics.parent / "environment.json").read_text())
    assert (environment["ranks"], environment["reduce"]) == (2, "exact")


def test_a_server_of_two_ranks_trains_to_the_bits_of_one_process(tmp_path: Path) -> None:
    wanted = in_one_process(tmp_path / "alone", "none", "level-1", chunk_size=7)["parameters_sha256"]
    words = ["--device", "cpu", "--threads", "1", "--reduce", "exact"]
    with unused_url() as url, ranks(tmp_path, "serve", "--port", url.rpartition(":")[2], *words) as found:
        found[0].until_it_says("listening on")
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            run = TinyRun(client, defender="level-1", chunk_size=7)
            run.play(0)
            assert run.until("finished")["result"]["parameters_sha256"] == wanted
        found[0].process.send_signal(signal.SIGTERM)
        ended(found)
