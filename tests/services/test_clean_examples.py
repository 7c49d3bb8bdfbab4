"""Clean examples on the dashboard: drawn by the attacker's process, shown only if the operator says so."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.storage.attacked import clean_folder
from midstream.storage.pictures import PICTURED
from midstream_proxy.attack import AttackSettings
from midstream_proxy.clean import CleanPictures
from midstream_server.http.app import make_app
from services import attacked, tiny
from services.loopback import client_of
from services.tiny import TinyRun, problem


def clean(seq: int) -> Tensor:
    return pixels(tiny.batch(seq).inputs)


def moved(seq: int) -> Tensor:
    inputs = clean(seq).clone()
    inputs[:, :, 0, 0] += 0.5
    return inputs


def columns(path: Path) -> Tensor:
    """Return the columns of a picture, each with its examples one below the other, without margins."""
    picture = Image.open(io.BytesIO(path.read_bytes()))
    side = clean(0).shape[2] + 2
    rows = picture.height * 2 * side // picture.width // side
    small = picture.resize((2 * side, rows * side), Image.Resampling.NEAREST)
    tiles = torch.tensor(list(small.tobytes())).view(rows, side, 2, side)
    return tiles[:, 1:-1, :, 1:-1].transpose(1, 2).transpose(0, 1)


@pytest.mark.parametrize("shown", [True, False])
def test_they_are_shown_only_if_the_operator_of_the_server_says_so(tmp_path: Path, shown: bool) -> None:
    registry = tiny.registry(tmp_path, show_clean=shown)
    with client_of(make_app(registry)) as client:
        run = TinyRun(client)
        assert not run.status()["clean"]
        CleanPictures(clean_folder(tmp_path / "tiny", "tiny"), 3).note(0, clean(0), moved(0))
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
        CleanPictures(tmp_path, 3).note(seq, clean(seq), moved(seq))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000.png", "0000003.png"]
    x, perturbation = columns(tmp_path / "0000000.png")
    assert torch.equal(x, clean(0)[:PICTURED, 0].mul(255).round().long())
    assert (perturbation[:, 0, 0] == 255).all()
    assert int(perturbation.sum()) == 255 * PICTURED


def test_an_attacker_that_composes_the_batch_has_its_own_examples_drawn_and_no_difference_of_others(
    tmp_path: Path,
) -> None:
    fewer = AttackSettings("none,drop=0.7,reorder=true")
    with (
        attacked.on_a_server(tmp_path, batch_sizes="any") as on_a_server,
        on_a_server.attacked(fewer, show_clean=True) as run,
    ):
        assert run.put(0).status_code == 200
    x, perturbation = columns(clean_folder(on_a_server.memory, "tiny") / "0000000.png")
    whole = clean(0)[:, 0].mul(255).round().long()
    assert len(x) == 3
    assert all(any(torch.equal(one, other) for other in whole) for one in x)
    assert len(perturbation.unique()) == 1, "nothing was moved"
