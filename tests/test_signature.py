"""The signature of a batch: its framing, as another language would write it, and what it tells apart."""

import hmac
import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from midstream.protocol.problem import Problem
from midstream.protocol.signature import check_signature, read_key, signature, signed
from midstream.protocol.wire import WireBatch, decode_batch, encode_batch

KEY = bytes(range(32))
BATCH = WireBatch(3, None, torch.arange(6, dtype=torch.uint8).reshape(2, 3), torch.tensor([1, 258]))


def test_the_framing_is_the_documented_one() -> None:
    def part(content: bytes) -> bytes:
        return struct.pack("<Q", len(content)) + content

    message = part(b"midstream batch signature 1") + part(b"digits-1") + part(struct.pack("<Q", 3))
    message += part(b"uint8") + part(struct.pack("<2Q", 2, 3)) + part(bytes([0, 1, 2, 3, 4, 5]))
    message += part(b"int64") + part(struct.pack("<1Q", 2)) + part(struct.pack("<2q", 1, 258))
    assert signature(BATCH, run="digits-1", key=KEY) == hmac.new(KEY, message, sha256).digest()


def test_the_documented_code_signs_as_we_do() -> None:
    text = (Path(__file__).parents[1] / "docs/protocol.md").read_text(encoding="utf-8")
    block = next(part for part in text.split("```python\n")[1:] if "hmac" in part).partition("```")[0]
    names: dict[str, Any] = {}
    exec(block, names)
    batch = WireBatch(0, None, torch.from_numpy(names["inputs"]), torch.from_numpy(names["labels"]))
    assert names["signature"] == signature(batch, run="digits-1", key=names["key"])


def test_what_depends_on_nothing_is_not_signed() -> None:
    of = signature(BATCH, run="a", key=KEY)
    other = replace(BATCH, parameters_version=2, report={"x": 1.0}, signature=bytes(32))
    assert signature(other, run="a", key=KEY) == of


OTHERS = {
    "seq": replace(BATCH, seq=4),
    "one pixel": replace(BATCH, inputs=BATCH.inputs + torch.tensor([0, 0, 1], dtype=torch.uint8)),
    "shape": replace(BATCH, inputs=BATCH.inputs.reshape(3, 2)),
    "rank": replace(BATCH, inputs=BATCH.inputs.reshape(2, 3, 1)),
    "dtype": replace(BATCH, inputs=BATCH.inputs.float()),
    "labels": replace(BATCH, labels=BATCH.labels.flip(0)),
    "inputs and labels exchanged": replace(BATCH, inputs=BATCH.labels, labels=BATCH.inputs),
    "nothing": replace(BATCH, inputs=BATCH.inputs[:0]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_content_has_another_signature(what: str) -> None:
    assert signature(OTHERS[what], run="a", key=KEY) != signature(BATCH, run="a", key=KEY)


def test_another_run_and_another_key_have_another_signature() -> None:
    ours = signature(BATCH, run="a", key=KEY)
    assert signature(BATCH, run="ab", key=KEY) != ours
    assert signature(BATCH, run="a", key=KEY + b"\n") != ours


@given(st.text("abc", min_size=1, max_size=5), st.binary(min_size=32, max_size=40), st.integers(0, 2**63 - 1))
def test_a_signature_survives_the_wire_and_fits(run: str, key: bytes, seq: int) -> None:
    travelled = decode_batch(b"".join(encode_batch(signed(replace(BATCH, seq=seq), run=run, key=key))))
    check_signature(travelled, run=run, key=key)
    with pytest.raises(Problem, match="does not fit"):
        check_signature(replace(travelled, inputs=1 - travelled.inputs), run=run, key=key)


def test_without_a_key_nothing_is_signed() -> None:
    assert signed(BATCH, run="a", key=None) is BATCH
    with pytest.raises(Problem, match="has no signature"):
        check_signature(BATCH, run="a", key=KEY)


def test_a_key_is_its_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(KEY)
    assert read_key(path) == KEY
    path.write_bytes(KEY[1:])
    with pytest.raises(ValueError, match="31 bytes"):
        read_key(path)
    path.write_bytes(KEY)
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        read_key(path)
