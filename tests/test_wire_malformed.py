"""Bodies that are not a batch: each is a WireError that says where it goes wrong, and costs no memory."""

import tracemalloc

import msgpack
import pytest
from packed_batches import GOOD, LABELS, inputs, packed

from midstream.protocol.wire import WireError, decode_batch


def without(key: str) -> bytes:
    body: bytes = msgpack.packb({name: value for name, value in GOOD.items() if name != key})
    return body


NOT_ONE_MAP = "the body is not one MessagePack map of a batch: "

MALFORMED = {
    "empty": (b"", NOT_ONE_MAP),
    "cut short": (packed()[:-1], NOT_ONE_MAP),
    "cut after the header": (packed()[:1], NOT_ONE_MAP),
    "with bytes behind it": (packed() + b"\x00", NOT_ONE_MAP + "unpack(b) received extra data"),
    "twice": (packed() * 2, NOT_ONE_MAP + "unpack(b) received extra data"),
    "a byte that MessagePack never uses": (b"\xc1", NOT_ONE_MAP),
    "text": (b'{"protocol": 1}', NOT_ONE_MAP),
    "text that is no UTF-8": (b"\xa1\xff", NOT_ONE_MAP),
    "a number": (b"\x05", "the batch is not a map"),
    "a list": (msgpack.packb(list(GOOD.values())), "the batch is not a map"),
    "null": (b"\xc0", "the batch is not a map"),
    "an empty map": (b"\x80", "the batch has no inputs, labels, protocol, seq"),
    "no seq": (without("seq"), "the batch has no seq"),
    "no labels": (without("labels"), "the batch has no labels"),
    "an unknown key": (packed(target=1), "the batch has unknown keys target"),
    "a short signature": (packed(signature=bytes(31)), "signature is not a bin of 32 bytes"),
    "a signature of text": (packed(signature="x" * 32), "signature is not a bin of 32 bytes"),
    "a signature of nothing": (packed(signature=None), "signature is not a bin of 32 bytes"),
    "a key that is a number": (b"\x81\x05\x05", NOT_ONE_MAP),
    "a key that is a list": (b"\x81\x90\x05", NOT_ONE_MAP),
    "a misspelled key": (
        msgpack.packb({("sec" if k == "seq" else k): v for k, v in GOOD.items()}),
        "the batch has no seq and unknown keys sec",
    ),
    "another protocol": (packed(protocol=2), "protocol is 2; this side speaks 1"),
    "protocol as text": (packed(protocol="1"), "protocol is '1'; this side speaks 1"),
    "negative seq": (packed(seq=-1), "seq holds -1"),
    "boolean seq": (packed(seq=True), "seq holds True"),
    "fractional seq": (packed(seq=1.0), "seq holds 1.0"),
    "seq null": (packed(seq=None), "seq holds None"),
    "huge seq": (packed(seq=2**63), f"seq holds {2**63}"),
    "negative version": (packed(parameters_version=-3), "parameters_version holds -3"),
    "boolean version": (packed(parameters_version=False), "parameters_version holds False"),
    "inputs that are bytes": (packed(inputs=b"ab"), "inputs is not a map"),
    "no shape": (packed(inputs={"dtype": "uint8", "data": b"ab"}), "inputs has no shape"),
    "an unknown field": (inputs(order="C"), "inputs has unknown keys order"),
    "an unknown type": (
        inputs(dtype="float16"),
        "inputs.dtype is 'float16'; known are uint8, float32, int64",
    ),
    "numpy's name of a type": (inputs(dtype="<f4"), "inputs.dtype is '<f4'"),
    "a type that is a list": (inputs(dtype=["uint8"]), "inputs.dtype is ['uint8']"),
    "a shape that is a number": (inputs(shape=2), "inputs.shape is not a list"),
    "a negative side": (inputs(shape=[-1, -2]), "inputs.shape holds -1"),
    "a boolean side": (inputs(shape=[True, 2]), "inputs.shape holds True"),
    "a fractional side": (inputs(shape=[1.0, 2]), "inputs.shape holds 1.0"),
    "data as text": (inputs(data="ab"), "inputs.data is not a bin"),
    "data as a list": (inputs(data=[97, 98]), "inputs.data is not a bin"),
    "too little data": (inputs(data=b"a"), "inputs.data has 1 bytes; torch.uint8 of [1, 2] has 2"),
    "too much data": (inputs(data=b"abc"), "inputs.data has 3 bytes; torch.uint8 of [1, 2] has 2"),
    "too little for its type": (
        inputs(dtype="float32"),
        "inputs.data has 2 bytes; torch.float32 of [1, 2] has 8",
    ),
    "bad labels": (
        packed(labels=LABELS | {"shape": [2]}),
        "labels.data has 8 bytes; torch.int64 of [2] has 16",
    ),
    "a huge shape": (inputs(shape=[2**40, 2**40]), f"has {2**80}"),
    "a product of 0 modulo 2^64": (inputs(shape=[2**32, 2**32], data=b""), f"has {2**64}"),
    "more dimensions than there are": (inputs(shape=[1] * 8 + [2]), "9 exceeds max_array_len(8)"),
    "a list said to be huge": (b"\xdd\xff\xff\xff\xff", "4294967295 exceeds max_array_len(8)"),
    "a map said to be huge": (b"\xdf\xff\xff\xff\xff", "4294967295 exceeds max_map_len(16)"),
    "data said to be huge": (b"\xc6\xff\xff\xff\xff", NOT_ONE_MAP),
    "text said to be huge": (b"\xdb\xff\xff\xff\xff", NOT_ONE_MAP),
    "nested lists": (b"\x91" * 100_000, NOT_ONE_MAP),
    "nested maps": (b"\x81\xa1a" * 100_000, NOT_ONE_MAP),
    "an extension": (packed(seq=msgpack.ExtType(5, b"x")), "exceeds max_ext_len(0)"),
    "a time": (packed(seq=msgpack.Timestamp(1)), "exceeds max_ext_len(0)"),
    "an extension of nothing": (b"\xc7\x00\x05", "the batch is not a map"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body(name: str) -> None:
    body, message = MALFORMED[name]
    with pytest.raises(WireError) as caught:
        decode_batch(body)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_table_starts_from_a_good_body() -> None:
    assert decode_batch(packed()).inputs.tolist() == [[97, 98]]


@pytest.mark.parametrize("protocol", [True, 1.0])
def test_a_protocol_that_only_equals_ours(protocol: object) -> None:
    with pytest.raises(WireError, match="this side speaks 1"):
        decode_batch(packed(protocol=protocol))


@pytest.mark.parametrize("shape", [[0, 2**62, 4], [2**62, 2**62, 0]])
def test_a_huge_shape_of_no_values(shape: list[int]) -> None:
    with pytest.raises(WireError, match=r"inputs\.shape"):
        decode_batch(inputs(shape=shape, data=b""))


@pytest.mark.parametrize("body", [packed(seq=bytes(10**6)), inputs(dtype=bytes(10**6))])
def test_a_message_does_not_repeat_a_body(body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        decode_batch(body)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff" + bytes(1000),
        inputs(shape=[2**40, 2**20]),
        inputs(shape=[0, 2**40], data=b""),
        b"\xc6\xff\xff\xff\xff" + bytes(1000),
        b"\x91" * 1000,
    ],
)
def test_nothing_larger_than_the_body_is_allocated(body: bytes) -> None:
    tracemalloc.start()
    try:
        decode_batch(body)
    except WireError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100_000
