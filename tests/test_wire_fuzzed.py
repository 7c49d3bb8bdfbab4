"""Arbitrary bytes and arbitrary values: a batch or a WireError, and nothing else."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_batches import GOOD, INPUTS, inputs, packed

from midstream.protocol.wire import WireBatch, WireError, decode_batch

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=20)
    | st.sampled_from(["uint8", "int64", b"", 1]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*GOOD, *INPUTS]) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


def is_decoded_or_refused(body: bytes) -> None:
    with suppress(WireError):
        assert isinstance(decode_batch(body), WireBatch)


@given(st.binary(max_size=80))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_a_batch_or_a_wire_error(body: bytes) -> None:
    is_decoded_or_refused(body)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(list(GOOD)), VALUES, max_size=2), st.binary(max_size=2))
@settings(deadline=None, max_examples=300)
def test_any_value_in_any_field_is_a_batch_or_a_wire_error(changes: dict[str, Any], rest: bytes) -> None:
    is_decoded_or_refused(packed(**changes) + rest)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(list(INPUTS)), VALUES, max_size=2))
@settings(deadline=None, max_examples=300)
def test_any_value_in_a_tensor_is_a_batch_or_a_wire_error(changes: dict[str, Any]) -> None:
    is_decoded_or_refused(inputs(**changes))


@given(st.integers(0), st.binary(min_size=1, max_size=3))
@settings(deadline=None, max_examples=300)
def test_a_damaged_batch_is_a_batch_or_a_wire_error(where: int, damage: bytes) -> None:
    good = packed()
    where %= len(good)
    is_decoded_or_refused(good[:where] + damage + good[where + len(damage) :])
