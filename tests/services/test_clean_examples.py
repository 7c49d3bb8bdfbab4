"""Clean examples on the dashboard: drawn by the attacker's process, shown only if the operator says so."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.wire import WireBatch
from midstream.storage.attacked import clean_folder
from midstream.storage.pictures import PICTURED
from midstream_proxy.attack import AttackSettings
from midstream_proxy.clean import CleanPictures
from midstream_server.http.app import make_app
from services import attacked, tiny
from services.loopback import client_of
from services.tiny import TinyRun, problem


def unmoved_and_sent(seq: int) -> tuple[Tensor, WireBatch]:
    batch = tiny.batch(seq)
    inputs = pixels(batch.inputs).clone()
    inputs[:, :, 0, 0] += 0.5
    return pixels(batch.inputs), WireBatch(batch.seq, batch.parameters_version, inputs, batch.labels, {})


def tiles_of(path: Path) -> Tensor:
    """Return a picture's tiles, `(rows, side, columns, side)`, without the enlargement."""
    picture = Image.open(io.BytesIO(path.read_bytes()))
    side = tiny.batch(0).inputs.shape[2] + 2
    rows = 2 * picture.height // picture.width
    small = picture.resize((2 * side, rows * side), Image.Resampling.NEAREST)
    return torch.tensor(list(small.tobytes())).view(rows, side, 2, side)


@pytest.mark.parametrize("shown", [True, False])
def test_they_are_shown_only_if_the_operator_of_the_server_says_so(tmp_path: Path, shown: bool) -> None:
    registry = tiny.registry(tmp_path, show_clean=shown)
    with client_of(make_app(registry)) as client:
        run = TinyRun(client)
        assert not run.status()["clean"]
        CleanPictures(clean_folder(tmp_path / "tiny", "tiny"), 3).note(*unmoved_and_sent(0))
        assert run.status()["clean"] == shown
        answer = run.get("/samples/0/clean")
        if shown:
            assert answer.headers["Content-Type"] == "image/png"
            assert answer.content == (tmp_path / "tiny/clean-tiny/0000000.png").read_bytes()
            assert "not shown" in problem(run.get("/samples/1/clean"), 404)["detail"]
        else:
            assert "not shown" in problem(answer, 404)["detail"]


def test_the_first_batch_of_each_epoch_is_drawn_and_what_the_attack_added(
    tmp_path: Path,
) -> None:
    for seq in range(6):
        CleanPictures(tmp_path, 3).note(*unmoved_and_sent(seq))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000.png", "0000003.png"]
    clean, tiles = pixels(tiny.batch(0).inputs)[:, 0], tiles_of(tmp_path / "0000000.png")
    assert torch.equal(tiles[:, 1:-1, 0, 1:-1], clean[:PICTURED].mul(255).round().long())
    perturbation = tiles[:, 1:-1, 1, 1:-1]
    assert (perturbation[:, 0, 0] == 255).all()
    assert int(perturbation.sum()) == 255 * PICTURED


def test_of_an_attacker_who_chooses_the_examples_those_are_drawn(tmp_path: Path) -> None:
    settings = AttackSettings("none,drop=0.5,reorder=true")
    with (
        attacked.on_a_server(tmp_path, batch_sizes="any") as on_a_server,
        on_a_server.attacked(settings, show_clean=True) as run,
    ):
        assert run.put(0).status_code == 200
        tiles = tiles_of(clean_folder(on_a_server.memory, "tiny") / "0000000.png")
    assert len(tiles) == 5
    assert (tiles[:, 1:-1, 1, 1:-1] == 128).all()  # nobody moved them
