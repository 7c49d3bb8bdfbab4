"""Named tensors as safetensors, and the digest that two runs are compared by."""

import json
import struct
from contextlib import suppress
from hashlib import sha256

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from midstream.protocol.wire import WireError, decode_tensors, encode_tensors, tensors_sha256


def named() -> dict[str, Tensor]:
    return {
        "weight": torch.randn(4, 3, 2, 2),
        "bias": torch.tensor([0.0, -0.0, float("nan"), float("inf")]),
        "steps": torch.tensor(2**62),
        "pixels": torch.arange(6, dtype=torch.uint8).reshape(2, 3),
        "nothing": torch.zeros(0, 3),
    }


def header(body: bytes) -> dict[str, dict[str, object]]:
    (size,) = struct.unpack_from("<Q", body)
    found: dict[str, dict[str, object]] = json.loads(body[8 : 8 + size])
    return found


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def test_tensors_come_back_bit_for_bit_with_their_metadata() -> None:
    tensors = named()
    body = encode_tensors(tensors, parameters_version="12", run="ünïcode")
    decoded = decode_tensors(body)
    assert decoded.keys() == tensors.keys()
    assert all(same_bits(decoded[name], tensors[name]) for name in tensors)
    assert header(body)["__metadata__"] == {"parameters_version": "12", "run": "ünïcode"}


def test_equal_content_gives_equal_bytes() -> None:
    tensors, metadata = named(), {f"key{i}": str(i) for i in range(8)}
    bodies = {encode_tensors(tensors, **metadata) for _ in range(5)}
    bodies.add(encode_tensors(dict(reversed(tensors.items())), **metadata))
    assert len(bodies) == 1
    assert list(header(bodies.pop())["__metadata__"]) == list(metadata)


def test_values_are_little_endian_behind_the_header() -> None:
    body = encode_tensors({"x": torch.tensor([1.0, -2.5])})
    assert header(body)["x"] == {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert body.endswith(bytes.fromhex("0000803f 000020c0"))


def test_channels_last_and_attached_tensors_are_sent_dense() -> None:
    weight = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last).weight
    assert not weight.is_contiguous()
    decoded = decode_tensors(encode_tensors({"weight": weight}))["weight"]
    assert same_bits(decoded, weight.detach().contiguous())
    assert not decoded.requires_grad


def test_rows_of_one_tensor_are_sent_one_by_one() -> None:
    rows = {str(i): row for i, row in enumerate(torch.rand(5, 3).unbind())}
    decoded = decode_tensors(encode_tensors(rows))
    assert all(same_bits(decoded[name], row) for name, row in rows.items())


def test_no_tensors_are_a_file_too() -> None:
    assert decode_tensors(encode_tensors({}, version="0")) == {}


def crafted(dtype: str, shape: list[int], size: int) -> bytes:
    text = json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PK\x03\x04 a zip file, as torch.save writes",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 4) + b"null",
        encode_tensors({"x": torch.tensor([0.25, 0.5, 0.75])})[:-1],
        encode_tensors({"x": torch.tensor([0.25, 0.5, 0.75])}) + b"\x00",
        crafted("F32", [3], 8),
        crafted("F32", [2**62, 4], 0),
        crafted("F31", [1], 4),
    ],
)
def test_a_malformed_file(body: bytes) -> None:
    with pytest.raises(WireError, match=r"^the body is not a safetensors file: "):
        decode_tensors(body)


@pytest.mark.parametrize(
    "body", [crafted("F8_E8M0", [1], 1), crafted("F32", [0, 2**63], 0)], ids=["type", "side"]
)
def test_a_file_that_torch_cannot_hold(body: bytes) -> None:
    with pytest.raises(WireError, match="safetensors"):
        decode_tensors(body)


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_are_tensors_or_a_wire_error(body: bytes) -> None:
    for sent in (body, struct.pack("<Q", len(body)) + body):
        with suppress(WireError):
            decode_tensors(sent)


def test_the_digest_is_what_its_definition_says() -> None:
    tensors = {"b": torch.tensor([1.0]), "a": torch.tensor([[1], [2]])}
    expected = b"a torch.int64 [2, 1]\n" + struct.pack("<qq", 1, 2) + b"b torch.float32 [1]\n\x00\x00\x80\x3f"
    assert tensors_sha256(tensors) == sha256(expected).hexdigest()


def test_the_digest_ignores_order_layout_and_graph() -> None:
    tensors = named()
    digest = tensors_sha256(tensors)
    tensors["weight"] = tensors["weight"].contiguous(memory_format=torch.channels_last).requires_grad_()
    tensors["bias"] = tensors["bias"].repeat_interleave(2)[::2]
    assert tensors_sha256(dict(reversed(tensors.items()))) == digest
    assert tensors_sha256(decode_tensors(encode_tensors(tensors))) == digest


def test_the_digest_sees_every_bit_name_shape_and_type() -> None:
    tensors = named()
    others = [tensors]
    for name, tensor in tensors.items():
        if not tensor.numel():
            continue
        flipped = tensor.clone()
        flipped.reshape(-1)[-1:].view(torch.uint8)[0] ^= 1
        others.append(tensors | {name: flipped})
    others.append(tensors | {"bias": tensors["bias"].abs()})  # -0.0 became 0.0
    others.append(tensors | {"pixels": tensors["pixels"].reshape(3, 2)})
    others.append(tensors | {"pixels": tensors["pixels"].to(torch.int8)})
    others.append(tensors | {"nothing": torch.zeros(0, 4)})
    others.append({f"{name}.": tensor for name, tensor in tensors.items()})
    digests = [tensors_sha256(other) for other in others]
    assert len(set(digests)) == len(others) == 10
