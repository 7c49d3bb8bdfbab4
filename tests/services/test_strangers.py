"""Malformed batches at a running game: each refused with a reason, the game as if nobody had sent them."""

import random

import httpx
import pytest
from benchmarks.malformed import malformed
from benchmarks.strangers import StrangerError, pester
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from services import tiny
from services.answering import Fixed
from services.loopback import served
from services.tiny import STEPS, TinyRun

pytestmark = pytest.mark.slow

COUNT = 50  # a step; `python -m benchmarks --only strangers` sends ten thousand


def test_a_game_among_strangers_ends_as_one_without(server: httpx.Client) -> None:
    proxy = Proxy(str(server.base_url), AttackSettings("level-1"))
    with (
        served(make_app(proxy), transparent=True) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as between,
    ):
        quiet = TinyRun(between, name="quiet", defender="level-1")
        quiet.play(0)
        run, chance = TinyRun(between, defender="level-1"), random.Random(0)
        for seq in range(STEPS):
            tally = pester([server, between], run.name, tiny.body(seq), seq, count=COUNT, chance=chance)
            assert tally.total() == COUNT
            run.play(seq, seq + 1)
        assert run.sha256() == quiet.sha256()


@given(st.integers(0))
@settings(deadline=None, max_examples=200)
def test_what_is_spoiled_is_another_batch(number: int) -> None:
    assert malformed(tiny.body(0), random.Random(number))[1] != tiny.body(0)


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_refuses_nothing_is_found_out(server: httpx.Client, status: int) -> None:
    run = TinyRun(server)
    with (
        served(Fixed(status)) as url,
        httpx.Client(base_url=url, trust_env=False) as other,
        pytest.raises(StrangerError, match=str(status)),
    ):
        pester([server, other], run.name, tiny.body(0), 0, count=2, chance=random.Random(0))
