"""θ as safetensors: by version, by tag, and by long poll."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from threading import Event

import httpx
import pytest
import safetensors.numpy

from midstream.protocol.wire import decode_tensors, tensors_sha256
from midstream.run.models import build_model
from services.tiny import STEPS, TinyRun, problem
from services.waiting import LONGEST


@contextmanager
def polling(run: TinyRun, query: str) -> Iterator[HTTPConnection]:
    """Give a connection on which a request has reached the server, so that only its answer is missing."""
    url = run.client.base_url
    connection = HTTPConnection(url.host, url.port, timeout=LONGEST)
    try:
        connection.request("GET", f"{run.path}/parameters?{query}")
        run.status()  # asked later, and answered: the poll has been read
        yield connection
    finally:
        connection.close()


def test_any_safetensors_reader_opens_the_parameters(run: TinyRun) -> None:
    response = run.get("/parameters")
    assert response.headers["Content-Type"] == "application/vnd.safetensors"
    assert response.headers["X-Parameters-Version"] == "0"
    tensors = safetensors.numpy.load(response.content)
    expected = build_model("digits-cnn", (1, 8, 8), 10).state_dict()
    assert {name: array.shape for name, array in tensors.items()} == {
        name: tuple(value.shape) for name, value in expected.items()
    }
    header = json.loads(response.content[8 : 8 + int.from_bytes(response.content[:8], "little")])
    assert header["__metadata__"] == {"run": "tiny", "parameters_version": "0"}


def test_the_tag_names_the_version(run: TinyRun) -> None:
    tag = run.get("/parameters").headers["ETag"]
    unchanged = run.get("/parameters", headers={"If-None-Match": tag})
    assert unchanged.status_code == 304
    assert unchanged.content == b""
    assert unchanged.headers["ETag"] == tag
    run.play(0, 1)
    moved = run.get("/parameters", headers={"If-None-Match": tag})
    assert moved.status_code == 200
    assert moved.headers["ETag"] != tag
    assert moved.headers["X-Parameters-Version"] == "1"


def test_a_version_is_the_same_for_as_long_as_it_is_kept(run: TinyRun) -> None:
    bodies = [run.get("/parameters").content]
    for seq in range(3):
        run.play(seq, seq + 1)
        bodies.append(run.get("/parameters").content)
    assert len(set(bodies)) == 4
    for version in (3, 2, 3):
        response = run.get("/parameters", params={"version": version})
        assert response.content == bodies[version]
        assert response.headers["X-Parameters-Version"] == str(version)


def test_a_version_that_is_gone_or_to_come(run: TinyRun) -> None:
    run.play(0, 3)
    for version in (0, 1):
        assert problem(run.get("/parameters", params={"version": version}), 410)["parameters_version"] == 3
    for version in (4, 10**6):
        assert problem(run.get("/parameters", params={"version": version}), 404)["parameters_version"] == 3


@pytest.mark.parametrize("query", ["version=-1", "version=new", "after=-2", "wait=61", "wait=-1", "wait=nan"])
def test_a_query_that_makes_no_sense_is_422(run: TinyRun, query: str) -> None:
    assert query.partition("=")[0] in problem(run.get(f"/parameters?{query}"), 422)["detail"]


def test_a_long_poll_wakes_when_a_batch_is_trained_on(run: TinyRun) -> None:
    with polling(run, "after=0&wait=60") as connection:
        run.play(0, 1)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["X-Parameters-Version"] == "1"
        assert tensors_sha256(decode_tensors(answer.read())) == run.sha256()


def test_a_long_poll_for_what_is_there_already_does_not_wait(run: TinyRun) -> None:
    run.play(0, 2)
    response = run.get("/parameters", params={"after": 0, "wait": 60})
    assert response.headers["X-Parameters-Version"] == "2"


def test_a_long_poll_in_vain_is_304(run: TinyRun) -> None:
    run.play(0, 1)
    for after in (1, 5):
        response = run.get("/parameters", params={"after": after, "wait": 0.1})
        assert response.status_code == 304
        assert response.headers["X-Parameters-Version"] == "1"


def test_a_long_poll_ends_with_the_run(run: TinyRun) -> None:
    run.play(0, 1)
    with polling(run, "after=1&wait=60") as connection:
        assert run.post("/stop").status_code == 200
        assert connection.getresponse().status == 304


def test_whoever_reads_during_the_steps_reads_whole_versions(run: TinyRun) -> None:
    over = Event()

    def read(_: int) -> set[tuple[str, str]]:
        seen = set()
        with httpx.Client(base_url=run.client.base_url, trust_env=False, timeout=60) as client:
            while not over.is_set():
                response = client.get(f"{run.path}/parameters")
                assert response.status_code == 200, response.text
                digest = tensors_sha256(decode_tensors(response.content))
                seen.add((response.headers["X-Parameters-Version"], digest))
        return seen

    with ThreadPoolExecutor(3) as readers:
        reading = [readers.submit(read, number) for number in range(3)]
        try:
            run.play(0)
        finally:
            over.set()
        seen = set().union(*(task.result() for task in reading))
    versions = [version for version, _ in seen]
    assert len(versions) == len(set(versions))
    assert set(versions) <= {str(version) for version in range(STEPS + 1)}
