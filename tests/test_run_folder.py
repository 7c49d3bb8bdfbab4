"""The run folder: what a checkpoint must find on the disk."""

from pathlib import Path

import pytest

from midstream.storage import run_folder
from midstream.storage.run_folder import RunFolder


def test_samples_are_on_the_disk_before_a_checkpoint_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(run_folder, "synchronise", flushed.append)
    folder = RunFolder(tmp_path)
    folder.write_sample("1.png", b"picture")
    assert not flushed
    folder.synchronise()
    assert flushed == [tmp_path / "samples" / "1.png", tmp_path / "samples"]
    folder.synchronise()
    assert len(flushed) == 2
    folder.close()


def test_a_sample_that_somebody_deleted_stops_no_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_sample("1.png", b"picture")
    (tmp_path / "samples" / "1.png").unlink()
    folder.synchronise()
    folder.close()
