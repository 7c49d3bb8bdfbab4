"""A batch is held against its run field by field; whatever is refused leaves the run as it was."""

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

from services import tiny
from services.tiny import STEPS, TinyRun, problem

Fields = dict[str, Any]
Change = Callable[[Fields], None]


def tensor(array: NDArray[Any]) -> Fields:
    return {"dtype": str(array.dtype), "shape": list(array.shape), "data": array.tobytes()}


def fields(seq: int) -> Fields:
    """Return a batch of the run as any MessagePack library would be given it."""
    batch = tiny.batch(seq)
    return {
        "protocol": 1,
        "seq": seq,
        "parameters_version": None,
        "inputs": tensor(batch.inputs.numpy()),
        "labels": tensor(batch.labels.numpy()),
    }


def changed(seq: int, change: Change) -> bytes:
    found = fields(seq)
    change(found)
    packed: bytes = msgpack.packb(found)
    return packed


def inputs(array: NDArray[Any]) -> Change:
    return lambda found: found.update(inputs=tensor(array))


def labels(array: NDArray[Any]) -> Change:
    return lambda found: found.update(labels=tensor(array))


def pixel(value: float) -> Change:
    array = tiny.batch(0).inputs.numpy().copy()
    array[-1, 0, -1, -1] = value
    return inputs(array)


def label(value: int) -> Change:
    array = tiny.batch(0).labels.numpy().copy()
    array[-1] = value
    return labels(array)


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


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_refused_by_field_and_value_and_the_game_goes_on(run: TinyRun, name: str) -> None:
    change, field, value = MISFITS[name]
    before = run.sha256()
    found = problem(run.put(0, changed(0, change)), 422)
    assert found["field"] == field
    assert field in found["title"]
    assert value in found["detail"]
    assert run.sha256() == before
    assert run.status()["step"] == 0
    run.play(0, 2)
    assert run.sha256() != before


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
def test_a_body_that_is_no_batch_is_400(run: TinyRun, name: str) -> None:
    before = run.sha256()
    problem(run.put(0, MALFORMED[name]), 400)
    assert run.sha256() == before
    run.play(0, 1)


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "", "application/msgpackx"])
def test_another_content_type_is_415(run: TinyRun, kind: str) -> None:
    before = run.sha256()
    assert "application/msgpack" in problem(run.put(0, kind=kind), 415)["detail"]
    assert run.sha256() == before
    run.play(0, 1)


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


def test_a_declared_body_that_is_too_large_is_413(run: TinyRun) -> None:
    before = run.sha256()
    largest = 10 * (4 * 64 + 8) + 4096
    assert str(largest) in problem(run.put(0, b"\0" * (largest + 1)), 413)["detail"]
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


def test_a_gap_is_409_and_says_which_batch_is_next(run: TinyRun) -> None:
    run.play(0, 2)
    before = run.sha256()
    assert problem(run.put(4), 409)["next_seq"] == 2
    assert run.sha256() == before
    run.play(2)


def test_a_repeated_batch_has_the_same_answer_and_changes_nothing(run: TinyRun) -> None:
    first = run.put(0).json()
    assert first["replay"] is False
    before = run.sha256()
    assert run.put(0).json() == first | {"replay": True}
    assert run.sha256() == before
    run.play(1, 3)
    before = run.sha256()
    assert run.put(0).json() == first | {"replay": True, "next_seq": 3}
    assert run.sha256() == before
    run.play(3)


def test_other_content_under_a_known_number_is_409(run: TinyRun) -> None:
    run.play(0, 2)
    before = run.sha256()
    assert problem(run.put(1, changed(1, pixel(0.5))), 409)["next_seq"] == 2
    assert problem(run.put(1, changed(1, label(3))), 409)["next_seq"] == 2
    assert run.sha256() == before
    run.play(2)


def test_a_known_batch_under_another_number_is_no_repetition(run: TinyRun) -> None:
    run.play(0, 1)
    found = problem(run.put(0, changed(0, lambda found: found.update(seq=1))), 422)
    assert found["field"] == "seq"
    run.play(1)


def test_a_batch_sent_many_times_at_once_is_trained_on_once(run: TinyRun) -> None:
    together = Barrier(6)

    def put(_: int) -> Fields:
        together.wait()
        answer: Fields = run.put(0).json()
        return answer

    with ThreadPoolExecutor(6) as senders:
        answers = list(senders.map(put, range(6)))
    assert sorted(answer["replay"] for answer in answers) == [False, True, True, True, True, True]
    assert {answer["parameters_version"] for answer in answers} == {1}
    assert len({answer["loss"] for answer in answers}) == 1
    assert run.status()["step"] == 1
    run.play(1)


def test_there_is_no_batch_after_the_last(run: TinyRun) -> None:
    run.play(0)
    before = run.sha256()
    another = changed(0, lambda found: found.update(seq=STEPS))
    assert problem(run.put(STEPS, another), 409)["next_seq"] == STEPS
    assert run.until("finished")["result"]["parameters_sha256"] == before
    assert problem(run.put(STEPS, another), 409)["next_seq"] == STEPS
    assert run.put(STEPS - 1).json()["replay"] is True
    assert run.sha256() == before
