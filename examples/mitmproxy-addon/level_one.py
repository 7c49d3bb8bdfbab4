"""A man in the middle as a mitmproxy addon: level 1 against softmax regression.

    mitmdump --mode reverse:http://127.0.0.1:8000 --listen-port 8001 --scripts level_one.py

Each minibatch is forwarded as x' = clamp(x - ε e(B_x v)); everything else is forwarded unchanged. A batch
that the provider sends again is forwarded as the same bytes: the last few are stored, and the result depends
only on the batch and θ.
"""

import json
import re
import urllib.error
import urllib.request
from typing import Any

import msgpack
import numpy as np
from mitmproxy import http
from mitmproxy.script import concurrent
from numpy.typing import NDArray
from safetensors import numpy as safetensors

Array = NDArray[np.float64]

BATCH = re.compile(r"(/v1/runs/[a-z0-9][a-z0-9._-]{0,99})/batches/(\d{1,15})")
DTYPES = {"uint8": np.uint8, "float32": np.float32, "int64": np.int64}
PASSED_ON = ("content-type", "retry-after", "www-authenticate")
KEPT = 8
SENT: dict[tuple[str, bytes], bytes] = {}  # forwarded bodies, for batches that are sent again
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@concurrent  # type: ignore[untyped-decorator]  # mitmproxy handles other requests meanwhile
def request(flow: http.HTTPFlow) -> None:
    """Attack batches; refuse any other PUT, so that no batch passes under another spelling of its path."""
    if flow.request.method != "PUT":
        return
    found = BATCH.fullmatch(flow.request.path)
    if found is None:
        flow.response = problem(404, "Not a batch", f"nothing is PUT to {flow.request.path}")
        return
    try:
        came = flow.request.path, flow.request.content or b""
        if came not in SENT:
            SENT[came] = attacked(flow, run=found[1], seq=int(found[2]))
        flow.request.content = SENT[came]
        while len(SENT) > KEPT:
            SENT.pop(next(iter(SENT)))
    except urllib.error.HTTPError as error:  # pass the server's reason to the provider
        kept = {name: value for name, value in error.headers.items() if name.lower() in PASSED_ON}
        flow.response = http.Response.make(error.code, error.read(), kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        flow.response = problem(502, "The attack failed", f"{error!r}; the batch was not passed on")


def responseheaders(flow: http.HTTPFlow) -> None:
    """Stream every response: an event stream never ends."""
    if flow.response is not None:
        flow.response.stream = True


def attacked(flow: http.HTTPFlow, *, run: str, seq: int) -> bytes:
    """Return the attacked batch's body."""
    status, model = (json.loads(read(flow, path)) for path in (run, f"{run}/model"))
    if model["model"] != "logistic":
        raise ValueError(f"the run trains {model['model']}; this attacker knows logistic alone")
    batch = msgpack.unpackb(flow.request.content or b"")
    inputs, labels = tensor(batch["inputs"]), tensor(batch["labels"])
    pixels = inputs / 255 if inputs.dtype == np.uint8 else inputs
    theta = safetensors.load(read(flow, f"{run}/parameters?version={seq}"))
    v = safetensors.load(read(flow, f"{run}/validation-gradient/{seq}"))
    game = status["specification"]
    mixed = mixed_derivative(pixels.reshape(len(labels), -1).astype(np.float64), labels, theta, v)
    if game["norm"] == "l2":
        lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
        direction = mixed / np.where(lengths > 0, lengths, 1)
    else:
        direction = np.sign(mixed)
    moved = (pixels - game["epsilon"] * direction.reshape(pixels.shape)).clip(0, 1).astype(np.float32)
    batch["inputs"] = {"dtype": "float32", "shape": list(moved.shape), "data": moved.tobytes()}
    batch["parameters_version"] = seq
    packed: bytes = msgpack.packb(batch)
    return packed


def mixed_derivative(x: Array, labels: NDArray[Any], theta: dict[str, Any], v: dict[str, Any]) -> Array:
    """Return `B_x v` of softmax regression, `(batch, pixels)`.

    With `p = softmax(W x + b)`, `r = p - onehot(y)` and `s = V x + u`, where `v = (V, u)`:
    `⟨∇θ L, v⟩ = rᵀ s` and `B_x v = Vᵀ r + Wᵀ (p ∘ (s - pᵀ s))`.
    """
    w, b = theta["1.weight"].astype(np.float64), theta["1.bias"]
    logits = x @ w.T + b
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    r = p - np.eye(len(b))[labels]
    s = x @ v["1.weight"].T + v["1.bias"]
    derivative: Array = r @ v["1.weight"] + (p * (s - (p * s).sum(axis=1, keepdims=True))) @ w
    return derivative


def tensor(field: dict[str, Any]) -> NDArray[Any]:
    """Return a tensor of a batch as an array."""
    return np.frombuffer(field["data"], DTYPES[field["dtype"]]).reshape(field["shape"])


def read(flow: http.HTTPFlow, path: str) -> bytes:
    """Read a resource from the server, with the provider's token."""
    asked = flow.request
    url = f"{asked.scheme}://{asked.host}:{asked.port}{path}"
    shown = {name: value for name, value in asked.headers.items() if name.lower() == "authorization"}
    with NO_PROXY.open(urllib.request.Request(url, headers=shown), timeout=60) as answer:
        body: bytes = answer.read()
    return body


def problem(status: int, title: str, detail: str) -> http.Response:
    """Return a problem response."""
    body = json.dumps({"title": title, "status": status, "detail": detail})
    return http.Response.make(status, body, {"Content-Type": "application/problem+json"})
