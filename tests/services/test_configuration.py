"""Flag over environment variable over scenario file over default, and `--show-config` tells which it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.conftest import Ended

Midstream = Callable[..., Ended]


def shown(ended: Ended) -> dict[str, tuple[Any, str]]:
    """Return each setting's value and source as `--show-config` printed them."""
    assert ended.code == 0, ended.err
    found = {}
    for line in ended.out.splitlines():
        name, _, rest = line.partition(" = ")
        value, _, source = rest.rpartition("  (")
        found[name] = (json.loads(value), source.removesuffix(")"))
    return found


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "scenario.yaml"
    path.write_text("epochs: 5\nseed: 5\nlr: 0.5\nattacker: none\ntrain-size: 500\n")
    return str(path)


def test_every_source_and_its_rank(
    midstream: Midstream, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDSTREAM_EPOCHS", "7")
    monkeypatch.setenv("MIDSTREAM_SEED", "7")
    monkeypatch.setenv("MIDSTREAM_LR", "0.7")
    settings = shown(midstream("play", scenario, "--show-config", "--epochs", "9", "--batch-size", "9"))
    assert settings["epochs"] == (9, "flag")
    assert settings["batch-size"] == (9, "flag")
    assert settings["seed"] == (7, "environment")
    assert settings["lr"] == (0.7, "environment")
    assert settings["attacker"] == ("none", "scenario file")
    assert settings["train-size"] == (500, "scenario file")
    assert settings["defender"] == ("none", "default")
    assert settings["epsilon"] == (1.5, "default of digits")
    assert settings["optimizer"] == ("adam", "default")
    assert settings["threads"] == (None, "default")


def test_the_data_set_brings_its_defaults(midstream: Midstream) -> None:
    settings = shown(midstream("play", "--show-config", "--dataset", "mnist"))
    assert settings["epsilon"] == (3.0, "default of mnist")
    assert settings["model"] == ("mnist-cnn", "default of mnist")
    assert settings["validation-size"] == (5000, "default of mnist")


@pytest.mark.parametrize("command", ["play", "demo", "serve", "attack", "provide"])
def test_every_command_shows_all_its_settings_and_does_nothing(
    midstream: Midstream, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = shown(midstream(command, "--show-config"))
    flags = {
        word.removeprefix("--").rstrip(",")
        for line in midstream(command, "--help").out.splitlines()
        for word in line.split()[:2]
        if word.startswith("--")
    }
    assert settings.keys() == flags - {"help", "show-config", "list"}
    assert list(tmp_path.iterdir()) == []
