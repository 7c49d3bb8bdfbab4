"""A batch is held against its run field by field; whatever is refused leaves the run as it was."""

import json
import struct
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import msgpack
import numpy as np
import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.loopback import client_of
from services.plain_batches import Change, changed, inputs, label, labels, pixel
from services.tiny import TinyRun, problem
from services.waiting import LONGEST

X, Y = tiny.batch(0).inputs.numpy(), tiny.batch(0).labels.numpy()

MISFITS: dict[str, tuple[Change, str, str]] = {
    "a channel too many": (inputs(np.zeros((10, 2, 8, 8), np.float32)), "inputs", "(10, 2, 8, 8)"),
    "flat inputs": (inputs(X.reshape(10, 64)), "inputs", "(10, 64)"),
    "too few examples": (inputs(X[:9]), "inputs", "(9, 1, 8, 8)"),
    "no examples": (inputs(X[:0]), "inputs", "(0, 1, 8, 8)"),
    "a NaN": (pixel(float("nan")), "inputs", "NaN"),
    "an infinity": (pixel(float("inf")), "inputs", "inf"),
    "minus infinity": (pixel(float("-inf")), "inputs", "-inf"),
    "too bright": (pixel(1.5), "inputs", "1.5"),
    "just too bright": (pixel(float(np.nextafter(np.float32(1), np.float32(2)))), "inputs", "1.0000001"),
    "too dark": (pixel(-0.25), "inputs", "-0.25"),
    "inputs of integers": (inputs(np.zeros(X.shape, np.int64)), "inputs", "int64"),
    "too few labels": (labels(Y[:9]), "labels", "(9,)"),
    "labels in a column": (labels(Y[:, None]), "labels", "(10, 1)"),
    "no such class": (label(10), "labels", "10"),
    "a negative class": (label(-1), "labels", "-1"),
    "labels of bytes": (labels(Y.astype(np.uint8)), "labels", "uint8"),
    "labels of floats": (labels(Y.astype(np.float32)), "labels", "float32"),
    "another number": (lambda found: found.update(seq=1), "seq", "1"),
    "parameters to come": (lambda found: found.update(parameters_version=7), "parameters_version", "7"),
}


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyRun]:
    """Give a run that waits for its first batch, and that no test lets go on."""
    with client_of(make_app(tiny.registry(tmp_path_factory.mktemp("waiting")))) as client:
        yield TinyRun(client)


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_refused_by_field_and_value(waiting: TinyRun, name: str) -> None:
    run, (change, field, value) = waiting, MISFITS[name]
    before = run.sha256()
    found = problem(run.put(0, changed(0, change)), 422)
    assert found["field"] == field
    assert field in found["title"]
    assert value in found["detail"]
    assert run.sha256() == before
    assert run.status()["step"] == 0


MALFORMED = {
    "nothing": b"",
    "JSON": b'{"protocol": 1}',
    "a bare number": msgpack.packb(1),
    "a field missing": changed(0, lambda found: found.pop("labels")),
    "a field too many": changed(0, lambda found: found.update(weights=[1])),
    "cut short": tiny.body(0)[:-1],
    "bytes behind it": tiny.body(0) + b"\0",
    "another protocol": changed(0, lambda found: found.update(protocol=2)),
    "a negative number": changed(0, lambda found: found.update(seq=-1)),
    "half precision": changed(0, inputs(X.astype(np.float16))),
    "data that belie the shape": changed(0, lambda found: found["inputs"].update(shape=[11, 1, 8, 8])),
    "a pickle": b"\x80\x04N.",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_body_that_is_no_batch_is_400(waiting: TinyRun, name: str) -> None:
    before = waiting.sha256()
    problem(waiting.put(0, MALFORMED[name]), 400)
    assert waiting.sha256() == before


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "", "application/msgpackx"])
def test_another_content_type_is_415(waiting: TinyRun, kind: str) -> None:
    before = waiting.sha256()
    assert "application/msgpack" in problem(waiting.put(0, kind=kind), 415)["detail"]
    assert waiting.sha256() == before


def test_after_all_of_them_the_game_goes_on(run: TinyRun) -> None:
    before = run.sha256()
    for body in (*(changed(0, change) for change, _, _ in MISFITS.values()), *MALFORMED.values()):
        assert run.put(0, body).status_code in (400, 422)
    assert run.put(0, kind="application/json").status_code == 415
    run.play(0, 2)
    assert run.sha256() != before


@pytest.mark.parametrize(
    "kind", ["application/msgpack; charset=binary", "application/vnd.msgpack", "application/x-msgpack"]
)
def test_other_names_of_messagepack_are_taken(run: TinyRun, kind: str) -> None:
    assert run.put(0, kind=kind).status_code == 200


def test_a_batch_of_plain_msgpack_is_the_same_batch(run: TinyRun) -> None:
    assert run.put(0, changed(0, lambda _: None)).json()["replay"] is False
    assert run.put(0).json()["replay"] is True


def test_integer_pixels_are_taken(run: TinyRun) -> None:
    assert run.put(0, changed(0, inputs((X * 255).astype(np.uint8)))).status_code == 200


def test_a_body_that_is_declared_too_large_is_413_before_it_is_sent(run: TinyRun) -> None:
    before = run.sha256()
    largest = 10 * (4 * 64 + 8) + 4096
    url = run.client.base_url
    with closing(HTTPConnection(url.host, url.port, timeout=LONGEST)) as connection:
        connection.putrequest("PUT", f"{run.path}/batches/0")
        connection.putheader("Content-Type", "application/msgpack")
        connection.putheader("Content-Length", str(largest + 1))
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 413
        assert str(largest) in json.loads(response.read())["detail"]
    assert run.sha256() == before
    run.play(0, 1)


def test_an_undeclared_body_that_is_too_large_is_413(run: TinyRun) -> None:
    before = run.sha256()
    response = run.client.put(
        f"{run.path}/batches/0",
        content=(b"\0" * 1024 for _ in range(10)),
        headers={"Content-Type": "application/msgpack"},
    )
    assert "Content-Length" not in response.request.headers
    problem(response, 413)
    assert run.sha256() == before
    run.play(0, 1)


def test_a_bin_that_claims_to_be_huge_is_400(run: TinyRun) -> None:
    head = msgpack.packb("protocol") + msgpack.packb(1) + msgpack.packb("inputs")
    problem(run.put(0, b"\x82" + head + b"\xc6" + struct.pack(">I", 2**32 - 1)), 400)
    run.play(0, 1)


def test_a_batch_for_an_unknown_run_is_404_and_names_those_there_are(run: TinyRun) -> None:
    response = run.client.put("/v1/runs/tony/batches/0", content=tiny.body(0))
    detail = problem(response, 404)["detail"]
    assert "'tony'" in detail
    assert "tiny" in detail.replace("'tony'", "")


@pytest.mark.parametrize("seq", ["-1", "first", "9223372036854775808"])
def test_a_path_without_a_sequence_number_is_422(run: TinyRun, seq: str) -> None:
    response = run.client.put(
        f"{run.path}/batches/{seq}", content=tiny.body(0), headers={"Content-Type": "application/msgpack"}
    )
    assert "seq" in problem(response, 422)["detail"]
    run.play(0, 1)
