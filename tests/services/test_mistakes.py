"""What the server says of the test images that a model fails at."""

import io
import json
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from midstream.mathematics.inputs.pixels import pixels
from midstream.storage.run_folder import MISTAKES, SAMPLES, write_whole
from midstream_server.http.app import make_app
from midstream_server.runs.mistakes import PICTURED, mistakes
from services import tiny
from services.loopback import client_of
from services.tiny import TinyRun, problem
from services.waiting import until


def test_they_are_those_of_the_last_evaluation(server: httpx.Client) -> None:
    run = TinyRun(server)
    assert "not been evaluated" in problem(run.get("/mistakes"), 404)["detail"]
    run.play(0)
    status = run.until("finished")
    found = run.get("/mistakes").json()
    test = tiny.split().test
    assert found["step"] == status["step"]
    assert found["total"] == len(test.labels)
    assert (found["total"] - found["wrong"]) / found["total"] == status["test_accuracy"]
    matrix = torch.tensor(found["confusion"])
    assert matrix.sum(1).tolist() == test.labels.bincount(minlength=10).tolist()
    assert int(matrix.trace()) == found["total"] - found["wrong"]
    label, taken, count = found["pairs"][0]
    assert count == matrix[label, taken] == matrix.fill_diagonal_(0).max()
    assert len(found["labels"]) == PICTURED
    assert all(label != taken for label, taken in zip(found["labels"], found["predicted"], strict=True))


@pytest.mark.parametrize(("dataset", "learns"), [("diabetes", "regression"), ("digit-traits", "multi-label")])
def test_a_run_of_another_task_has_none(server: httpx.Client, dataset: str, learns: str) -> None:
    run = TinyRun(server, dataset=dataset)
    assert f"learns {learns}" in problem(run.get("/mistakes"), 404)["detail"]


def test_an_evaluation_while_they_are_read_breaks_no_answer(tmp_path: Path) -> None:
    registry, over = tiny.registry(tmp_path), Event()
    with client_of(make_app(registry)) as client, ThreadPoolExecutor() as aside:
        run = TinyRun(client)
        path = tmp_path / "tiny" / SAMPLES / MISTAKES

        def evaluate() -> None:
            for size in cycle((1000, 5000)):
                write_whole(path, json.dumps(size * "x").encode(), durably=False)
                if over.wait(0.0005):
                    return

        evaluating = aside.submit(evaluate)
        try:
            until(path.exists, "a first evaluation")
            sizes = {len(run.get("/mistakes").json()) for _ in range(20)}
        finally:
            over.set()
        evaluating.result()
    assert sizes <= {1000, 5000}


def test_the_picture_shows_the_first_ones_side_by_side() -> None:
    test = tiny.split().test
    predicted = test.labels.clone()
    wrong = [3, 5, 40]
    predicted[wrong] = (predicted[wrong] + 1) % 10
    found = mistakes(
        7, classes=list("0123456789"), inputs=test.inputs, labels=test.labels, predicted=predicted
    )
    assert found.labels == test.labels[wrong].tolist()
    assert found.predicted == predicted[wrong].tolist()
    assert found.picture is not None
    picture = Image.open(io.BytesIO(b64decode(found.picture)))
    shown = torch.from_numpy(np.array(picture))
    expected = torch.cat(list(pixels(test.inputs[wrong])[:, 0]), dim=1).mul(255).round()
    assert torch.equal(shown.float(), expected)


def test_a_model_that_never_fails_has_no_picture_and_many_classes_no_matrix() -> None:
    labels = torch.arange(30)
    found = mistakes(
        1,
        classes=[str(n) for n in range(30)],
        inputs=torch.zeros(30, 1, 2, 2),
        labels=labels,
        predicted=labels,
    )
    assert (found.wrong, found.picture, found.pairs, found.confusion) == (0, None, [], None)


def test_ten_thousand_classes_need_no_matrix_in_memory() -> None:
    labels = torch.arange(10_000).repeat(2)
    predicted = labels.clone()
    predicted[[4, 10_004, 7]] = torch.tensor([9_999, 9_999, 2])
    largest = 0

    class Sizes(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            largest = max([largest, *(one.numel() for one in tree_leaves(found) if isinstance(one, Tensor))])
            return found

    with Sizes():
        found = mistakes(
            1,
            classes=[str(n) for n in range(10_000)],
            inputs=torch.zeros(20_000, 1),
            labels=labels,
            predicted=predicted,
        )
    assert found.pairs == [[4, 9_999, 2], [7, 2, 1]]
    assert largest <= 20_000
