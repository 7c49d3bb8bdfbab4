"""The defender on two ranks of `DistributedDataParallel`, against one process with the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_of_a_loop import Seen, batch, defender, network

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).parent / "rank_of_a_loop.py"
RANKS = 2


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """Return what each rank saw."""
    folder = tmp_path_factory.mktemp("ranks")
    words = [sys.executable, str(SCRIPT), str(folder), str(RANKS)]
    ranks = [subprocess.Popen([*words, str(rank)]) for rank in range(RANKS)]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0] * RANKS
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def test_each_rank_corrects_its_part_as_one_process_corrects_the_whole(seen: list[Seen]) -> None:
    model = network(batch_norm=False)
    expected = defender(model)(*batch())
    assert torch.allclose(torch.cat([one["plain"] for one in seen]), expected, atol=1e-5)
    assert not torch.allclose(expected, batch()[0], atol=1e-2)


def test_all_ranks_have_the_same_v_though_their_running_statistics_differ(seen: list[Seen]) -> None:
    assert not torch.equal(*(one["running_mean"] for one in seen))
    assert torch.equal(*(one["v"] for one in seen))


def test_the_wrapper_still_averages_the_gradients_of_the_step(seen: list[Seen]) -> None:
    assert torch.equal(*(one["gradient"] for one in seen))
    assert torch.equal(*(one["gradient"] for one in seen))
    mean = torch.stack([one["own_gradient"] for one in seen]).mean(dim=0)
    assert torch.allclose(seen[0]["gradient"], mean, atol=1e-6)


def test_a_refusal_of_one_rank_is_one_of_all_and_the_next_batch_is_taken(seen: list[Seen]) -> None:
    first, second = (bytes(one["refusal"].tolist()).decode() for one in seen)
    assert "hold a NaN" in first
    assert "1 of 2 ranks refused their part" in second
    assert all(torch.equal(one["plain"], one["plain_again"]) for one in seen)


def test_batch_norm_that_is_synchronised_is_refused(seen: list[Seen]) -> None:
    for one in seen:
        text = bytes(one["synchronised"].tolist()).decode()
        assert "layer '1' is SyncBatchNorm: in training mode it couples the examples of all ranks" in text
