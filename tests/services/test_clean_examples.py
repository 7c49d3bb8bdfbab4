"""Clean examples on the dashboard: drawn by the attacker's process, shown only if the operator says so."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.wire import WireBatch
from midstream.storage.attacked import clean_folder
from midstream.storage.pictures import PICTURED
from midstream_proxy.clean import CleanPictures
from midstream_server.http.app import make_app
from services import tiny
from services.loopback import client_of
from services.tiny import TinyRun, problem


def attacked(batch: WireBatch) -> WireBatch:
    inputs = pixels(batch.inputs).clone()
    inputs[:, :, 0, 0] += 0.5
    return WireBatch(batch.seq, batch.parameters_version, inputs, batch.labels, {})


@pytest.mark.parametrize("shown", [True, False])
def test_they_are_shown_only_if_the_operator_of_the_server_says_so(tmp_path: Path, shown: bool) -> None:
    registry = tiny.registry(tmp_path, show_clean=shown)
    with client_of(make_app(registry)) as client:
        run = TinyRun(client)
        assert not run.status()["clean"]
        CleanPictures(clean_folder(tmp_path / "tiny", "tiny"), 3).note(tiny.batch(0), attacked(tiny.batch(0)))
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
        CleanPictures(tmp_path, 3).note(tiny.batch(seq), attacked(tiny.batch(seq)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000.png", "0000003.png"]
    picture = Image.open(io.BytesIO((tmp_path / "0000000.png").read_bytes()))
    clean = pixels(tiny.batch(0).inputs)[:, 0]
    side = clean.shape[1] + 2
    small = picture.resize((2 * side, PICTURED * side), Image.Resampling.NEAREST)
    tiles = torch.tensor(list(small.tobytes())).view(PICTURED, side, 2, side)
    assert torch.equal(tiles[:, 1:-1, 0, 1:-1], clean[:PICTURED].mul(255).round().long())
    perturbation = tiles[:, 1:-1, 1, 1:-1]
    assert (perturbation[:, 0, 0] == 255).all()
    assert int(perturbation.sum()) == 255 * PICTURED
