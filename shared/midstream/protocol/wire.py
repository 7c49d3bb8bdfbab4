"""What travels: a minibatch as one MessagePack map, tensors by name as safetensors.

Nothing here reads pickle. `docs/protocol.md` describes both formats for other languages.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from hashlib import sha256
from reprlib import repr as shortened

import msgpack
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.players.reports import REPORTS, check_report
from midstream.protocol.buffers import Buffer

PROTOCOL = 1
BATCH_TYPE = "application/msgpack"
TENSORS_TYPE = "application/vnd.safetensors"

_DTYPES: dict[str, tuple[torch.dtype, str]] = {
    "uint8": (torch.uint8, "|u1"),
    "float32": (torch.float32, "<f4"),
    "int64": (torch.int64, "<i8"),
}
_NAMES = {dtype: name for name, (dtype, _) in _DTYPES.items()}
_FIELDS = {"protocol", "seq", "parameters_version", "report", "inputs", "labels", "signature"}
_OPTIONAL = {"parameters_version", "report", "signature"}
_SIGNATURE_BYTES = 32


class WireError(MidstreamError, ValueError):
    """Malformed bytes; the message says what is wrong, and where."""


@dataclass(frozen=True)
class WireBatch:
    """A minibatch as it travels: well formed, but not yet checked against a run.

    Attributes:
        seq: its number in the run.
        parameters_version: version of the parameters that it was attacked at; None before the attack.
        inputs: uint8 pixels, or float32 in the pixel range.
        labels: class indices, int64.
        report: numbers by name that the attacker reports for the run's metrics; nothing depends on them.
        signature: of `midstream.protocol.signature`; None if it is unsigned.
    """

    seq: int
    parameters_version: int | None
    inputs: Tensor
    labels: Tensor
    report: Mapping[str, float] = field(default_factory=dict)
    signature: bytes | None = None


def encode_batch(batch: WireBatch) -> list[Buffer]:
    """Return the buffers of one MessagePack map; joined, they are the body.

    They share the tensors' memory.

    >>> batch = WireBatch(0, None, torch.zeros(1, 2, dtype=torch.uint8), torch.tensor([3]))
    >>> decode_batch(b"".join(encode_batch(batch))).labels
    tensor([3])
    """
    packer = msgpack.Packer()
    fields: dict[str, object] = {
        "protocol": PROTOCOL,
        "seq": batch.seq,
        "parameters_version": batch.parameters_version,
    }
    if batch.report:
        fields["report"] = dict(batch.report)
    if batch.signature is not None:
        fields["signature"] = batch.signature
    head = packer.pack_map_header(len(fields) + 2)
    for key, value in fields.items():
        head += packer.pack(key) + packer.pack(value)
    return [
        head + packer.pack("inputs"),
        *_encode_tensor(packer, batch.inputs),
        packer.pack("labels"),
        *_encode_tensor(packer, batch.labels),
    ]


def _encode_tensor(packer: msgpack.Packer, tensor: Tensor) -> Iterator[Buffer]:
    name, shape, data = layout(tensor)
    head = packer.pack_map_header(3) + packer.pack("dtype") + packer.pack(name)
    head += packer.pack("shape") + packer.pack(shape) + packer.pack("data")
    yield head + b"\xc6" + struct.pack(">I", len(data))  # a bin of 32-bit length
    yield data


def layout(tensor: Tensor) -> tuple[str, list[int], memoryview]:
    """Return a tensor's dtype, shape and data as they travel: row-major, little-endian, not copied.

    >>> layout(torch.tensor([1, 2], dtype=torch.uint8))[:2]
    ('uint8', [2])
    """
    name = _NAMES[tensor.dtype]
    array = tensor.detach().cpu().numpy().astype(_DTYPES[name][1], copy=False)
    return name, list(array.shape), array.reshape(-1).data.cast("B")


def decode_batch(body: bytes) -> WireBatch:
    """Return the batch in a body.

    Raises:
        WireError: the body is not such a map. Decoding allocates nothing larger than the body.
    """
    try:
        fields = msgpack.unpackb(
            body,
            max_str_len=64,
            max_array_len=8,
            max_map_len=REPORTS,
            max_ext_len=0,
            max_bin_len=len(body),
        )
    except (ValueError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise WireError(f"the body is not one MessagePack map of a batch: {reason}") from error
    fields = _map(fields, _FIELDS, "the batch", optional=_OPTIONAL)
    if type(fields["protocol"]) is not int or fields["protocol"] != PROTOCOL:
        raise WireError(f"protocol is {shortened(fields['protocol'])}; this side speaks {PROTOCOL}")
    version = fields.get("parameters_version")
    return WireBatch(
        seq=_count(fields["seq"], "seq"),
        parameters_version=None if version is None else _count(version, "parameters_version"),
        inputs=_decode_tensor(fields["inputs"], "inputs"),
        labels=_decode_tensor(fields["labels"], "labels"),
        report=_decode_report(fields.get("report", {})),
        signature=_decode_signature(fields["signature"]) if "signature" in fields else None,
    )


def _decode_report(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise WireError("report is not a map")
    for name, number in value.items():
        try:
            check_report(name, number)
        except ValueError as error:
            raise WireError(f"report: {error}") from error
    return {name: float(number) for name, number in value.items()}


def _decode_signature(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != _SIGNATURE_BYTES:
        raise WireError(f"signature is not a bin of {_SIGNATURE_BYTES} bytes")
    return value


def _decode_tensor(value: object, name: str) -> Tensor:
    fields = _map(value, {"dtype", "shape", "data"}, name)
    if not isinstance(fields["dtype"], str) or fields["dtype"] not in _DTYPES:
        raise WireError(f"{name}.dtype is {shortened(fields['dtype'])}; known are {', '.join(_DTYPES)}")
    dtype, layout = _DTYPES[fields["dtype"]]
    if not isinstance(fields["shape"], list):
        raise WireError(f"{name}.shape is not a list")
    shape = [_count(size, f"{name}.shape") for size in fields["shape"]]
    if not isinstance(fields["data"], bytes):
        raise WireError(f"{name}.data is not a bin")
    expected = math.prod(shape) * np.dtype(layout).itemsize
    if len(fields["data"]) != expected:
        raise WireError(f"{name}.data has {len(fields['data'])} bytes; {dtype} of {shape} has {expected}")
    # Copied into memory of torch's own: aligned, writable, and not keeping the body alive.
    try:
        return torch.from_numpy(np.frombuffer(fields["data"], layout).reshape(shape).copy())
    except (ValueError, RuntimeError) as error:  # no values, and sides whose product overflows
        raise WireError(f"{name}.shape {shape} is too large: {error}") from error


def _map(value: object, keys: set[str], name: str, *, optional: Set[str] = frozenset()) -> dict[str, object]:
    if not isinstance(value, dict):
        raise WireError(f"{name} is not a map")
    missing, unknown = keys - optional - value.keys(), value.keys() - keys
    if missing or unknown:
        raise WireError(
            f"{name} has "
            + " and ".join(
                [f"no {', '.join(sorted(missing))}"] * bool(missing)
                + [f"unknown keys {', '.join(sorted(map(str, unknown)))}"] * bool(unknown)
            )
        )
    return value


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise WireError(f"{name} holds {shortened(value)}, which is not a whole number of at least 0")
    return value


def encode_tensors(tensors: Mapping[str, Tensor], **metadata: str) -> bytes:
    """Return named tensors as one safetensors file, with its metadata: equal bytes for equal content."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    body = safetensors.torch.save(plain)
    if not metadata:
        return body
    # The library would write the metadata in an order that changes from call to call.
    end = 8 + int.from_bytes(body[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(body[8:end])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(body)[end:]))


def decode_tensors(body: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, by name.

    Raises:
        WireError: the body is not a safetensors file.
    """
    try:
        return safetensors.torch.load(body)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise WireError(f"the body is not a safetensors file: {error}") from error


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, types, shapes and values, in the order of the names.

    Equal digests mean bit-identical tensors.
    """
    digest = sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
