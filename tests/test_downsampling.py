"""A thinned history draws the same curves: its peaks and troughs are those of the whole."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream_server.http.downsampling import FEWEST, thinned

RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "loss": st.floats(0, 1e6),
            "correction": st.floats(0, 10),
            "test_loss": st.sampled_from([None, None, None, 0.5]),
        }
    ),
    max_size=200,
)


@given(RECORDS, st.integers(FEWEST, 100))
def test_what_is_kept(records: list[dict[str, Any]], points: int) -> None:
    records = [{"step": step, **record} for step, record in enumerate(records, start=1)]
    kept = thinned(records, points)
    steps = [record["step"] for record in kept]
    assert steps == sorted(set(steps))
    assert all(records[record["step"] - 1] is record for record in kept)
    evaluated = [record for record in records if record["test_loss"] is not None]
    assert all(record in kept for record in evaluated)
    assert len([record for record in kept if record["test_loss"] is None]) <= points
    if records:
        assert (kept[0], kept[-1]) == (records[0], records[-1])
        for name in ("loss", "correction"):
            assert min(record[name] for record in kept) == min(record[name] for record in records)
            assert max(record[name] for record in kept) == max(record[name] for record in records)


@pytest.mark.parametrize("peak", [1, 4321, 99_998])
def test_no_peak_of_a_long_history_is_lost(peak: int) -> None:
    quiet = {"loss": 1.0, "correction": 0.5, "test_loss": None}
    records: list[dict[str, Any]] = [{"step": step, **quiet} for step in range(100_000)]
    records[peak]["correction"] = 1.5
    kept = thinned(records, 2000)
    assert len(kept) <= 2000
    assert records[peak] in kept
    gaps = [second["step"] - first["step"] for first, second in pairwise(kept)]
    assert max(gaps) < 1000  # and no stretch of it is left empty
