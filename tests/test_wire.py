"""A minibatch on the wire, byte by byte, and as other MessagePack libraries read and write it."""

from collections.abc import Callable
from typing import Any

import msgpack
import ormsgpack
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from midstream.protocol.buffers import SEND_CHUNK, length, slices
from midstream.protocol.wire import WireBatch, decode_batch, encode_batch

DECODERS = [msgpack.unpackb, ormsgpack.unpackb]
ENCODERS = [msgpack.packb, ormsgpack.packb]
foreign_decoder = pytest.mark.parametrize("decode", DECODERS, ids=["msgpack", "ormsgpack"])
foreign_encoder = pytest.mark.parametrize("encode", ENCODERS, ids=["msgpack", "ormsgpack"])


def body(batch: WireBatch) -> bytes:
    return b"".join(encode_batch(batch))


def example(inputs: Tensor | None = None, *, version: int | None = None) -> WireBatch:
    if inputs is None:
        inputs = torch.tensor([[0xAB, 0x01]], dtype=torch.uint8)
    return WireBatch(7, version, inputs, torch.arange(3, 3 + len(inputs)))


def test_the_bytes_of_a_small_batch() -> None:
    assert body(example()) == (
        b"\x85"
        b"\xa8protocol\x01"
        b"\xa3seq\x07"
        b"\xb2parameters_version\xc0"
        b"\xa6inputs\x83\xa5dtype\xa5uint8\xa5shape\x92\x01\x02\xa4data\xc6\x00\x00\x00\x02\xab\x01"
        b"\xa6labels\x83\xa5dtype\xa5int64\xa5shape\x91\x01\xa4data\xc6\x00\x00\x00\x08\x03" + bytes(7)
    )


def test_numbers_are_little_endian() -> None:
    fields = msgpack.unpackb(body(WireBatch(0, 5, torch.tensor([[1.0, -2.5]]), torch.tensor([258]))))
    assert fields["inputs"]["data"] == bytes.fromhex("0000803f 000020c0")
    assert fields["labels"]["data"] == bytes.fromhex("0201000000000000")


@foreign_decoder
@pytest.mark.parametrize("version", [None, 0, 2**40])
def test_others_read_what_we_write(decode: Callable[[bytes], Any], version: int | None) -> None:
    inputs = torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2)
    fields = decode(body(example(inputs, version=version)))
    assert fields == {
        "protocol": 1,
        "seq": 7,
        "parameters_version": version,
        "inputs": {"dtype": "float32", "shape": [2, 3, 2, 2], "data": inputs.numpy().tobytes()},
        "labels": {"dtype": "int64", "shape": [2], "data": torch.tensor([3, 4]).numpy().tobytes()},
    }
    assert isinstance(fields["inputs"]["data"], bytes)
    assert list(fields) == ["protocol", "seq", "parameters_version", "inputs", "labels"]


@foreign_encoder
@pytest.mark.parametrize("version", [{}, {"parameters_version": None}, {"parameters_version": 9}])
def test_we_read_what_others_write(encode: Callable[[Any], bytes], version: dict[str, int | None]) -> None:
    fields = {
        "labels": {"data": bytes([5]) + bytes(7), "shape": [1], "dtype": "int64"},
        "inputs": {"data": bytes.fromhex("0000803f"), "shape": [1, 1], "dtype": "float32"},
        "seq": 2**62,
        "protocol": 1,
    }
    batch = decode_batch(encode(fields | version))
    assert batch.seq == 2**62
    assert batch.parameters_version == version.get("parameters_version")
    assert torch.equal(batch.inputs, torch.tensor([[1.0]]))
    assert torch.equal(batch.labels, torch.tensor([5]))


def test_what_was_decoded_is_memory_of_its_own() -> None:
    encoded = body(example())
    decoded = decode_batch(encoded)
    decoded.inputs.zero_()
    decoded.labels.zero_()
    assert torch.equal(decode_batch(encoded).inputs, example().inputs)


def test_the_tensors_own_memory_is_sent() -> None:
    batch = example()
    buffers = encode_batch(batch)
    batch.inputs[0, 0] = 0x77
    assert decode_batch(b"".join(buffers)).inputs[0, 0] == 0x77


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced", "expanded", "requires_grad"])
def test_the_layout_in_memory_is_not_sent(layout: str) -> None:
    dense = torch.rand(2, 3, 4, 4)
    inputs = {
        "channels_last": dense.contiguous(memory_format=torch.channels_last),
        "transposed": dense.transpose(2, 3),
        "sliced": dense[:, :, ::2, 1:],
        "expanded": dense[:1].expand(2, 3, 4, 4),
        "requires_grad": dense.clone().requires_grad_(),
    }[layout]
    decoded = decode_batch(body(example(inputs))).inputs
    assert torch.equal(decoded, inputs.detach())
    assert decoded.is_contiguous()
    assert not decoded.requires_grad


@pytest.mark.parametrize("size", [0, 1, SEND_CHUNK - 1, SEND_CHUNK, 2 * SEND_CHUNK + 5])
def test_slices_are_the_body_in_small_pieces(size: int) -> None:
    batch = example(torch.arange(size).remainder(251).to(torch.uint8).reshape(1, size))
    buffers = encode_batch(batch)
    pieces = list(slices(buffers))
    assert b"".join(pieces) == body(batch)
    assert max(map(len, pieces)) <= SEND_CHUNK
    assert length(buffers) == len(body(batch))


@st.composite
def batches(draw: st.DrawFn) -> WireBatch:
    shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    dtype = draw(st.sampled_from([torch.uint8, torch.float32]))
    count = int(torch.tensor(shape).prod())
    bits = draw(st.binary(min_size=4 * count, max_size=4 * count))
    inputs = torch.frombuffer(bytearray(bits), dtype=dtype)[:count] if count else torch.zeros(0, dtype=dtype)
    labels = draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3))
    counts = st.integers(0, 2**63 - 1)
    return WireBatch(
        draw(counts),
        draw(st.none() | counts),
        inputs.reshape(shape),
        torch.tensor(labels, dtype=torch.int64),
    )


@given(batches())
@settings(deadline=None)
def test_every_batch_comes_back_bit_for_bit(batch: WireBatch) -> None:
    decoded = decode_batch(body(batch))
    assert (decoded.seq, decoded.parameters_version) == (batch.seq, batch.parameters_version)
    for got, sent in ((decoded.inputs, batch.inputs), (decoded.labels, batch.labels)):
        assert got.dtype == sent.dtype
        assert got.shape == sent.shape
        assert got.numpy().tobytes() == sent.numpy().tobytes()  # a NaN's payload, too
